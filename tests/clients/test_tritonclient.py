"""Triton's own HTTP clients, unmodified: the synchronous and the asynchronous one."""

import asyncio
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.server import Server

with warnings.catch_warnings():  # libraries of the client's own say what is none of our business
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    import tritonclient.http.aio as triton_aio
    from tritonclient.utils import InferenceServerException

A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)
MIXTURE = {
    "flag": np.array([True, False]),
    "half": np.array([1.5, -2], np.float16),
    "number": np.array([2**53 + 1, -1], np.int64),
    "text": np.array([b"\xff\0", "é".encode()], np.object_),
}


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def tensor(name: str, datatype: str, array: Any, binary: bool = True) -> Any:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def simple(binary: bool = True) -> list[Any]:
    return [tensor("INPUT0", "INT32", A, binary), tensor("INPUT1", "INT32", B, binary)]


def mixture() -> list[Any]:
    return [
        tensor("flag", "BOOL", MIXTURE["flag"]),
        tensor("half", "FP16", MIXTURE["half"]),
        tensor("number", "INT64", MIXTURE["number"]),
        tensor("text", "BYTES", MIXTURE["text"]),
    ]


def x(*values: float) -> list[Any]:
    return [tensor("x", "FP32", np.array(values, np.float32))]


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.is_model_ready("simple", "1")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("simple")["inputs"][0] == {
        "name": "INPUT0",
        "datatype": "INT32",
        "shape": [-1, 16],
    }
    assert client.get_model_config("simple")["max_batch_size"] > 0


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_inference_in_binary_and_json_both_ways(client: Any, binary_in: bool, binary_out: bool | None) -> None:
    outputs = (
        binary_out
        if binary_out is None
        else [
            triton.InferRequestedOutput("OUTPUT1", binary_data=binary_out),
            triton.InferRequestedOutput("OUTPUT0", binary_data=not binary_out),
        ]
    )
    answer = client.infer("simple", simple(binary_in), outputs=outputs, request_id="7")
    assert np.array_equal(answer.as_numpy("OUTPUT0"), A + B)
    assert np.array_equal(answer.as_numpy("OUTPUT1"), A - B)
    assert answer.get_response()["id"] == "7"


def test_datatypes_of_their_own_kind(client: Any) -> None:
    answer = client.infer("mixture", mixture())
    for name, sent in MIXTURE.items():
        assert np.array_equal(answer.as_numpy(f"{name}_out"), sent)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_both_ways(client: Any, algorithm: str) -> None:
    values = np.arange(5000, dtype=np.float32)
    answer = client.infer(
        "half_plus_two",
        x(*values),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert np.array_equal(answer.as_numpy("y"), values / 2 + 2)


def test_large_tensors_both_ways(client: Any) -> None:
    values = np.arange(1_000_000, dtype=np.float32)
    for answer in [client.infer("half_plus_two", x(*values)) for _ in range(2)]:
        assert np.array_equal(answer.as_numpy("y"), values / 2 + 2)


def test_classification(client: Any) -> None:
    scores = [tensor("x", "FP32", np.ones((2, 4), np.float32))]
    answer = client.infer("mlp", scores, outputs=[triton.InferRequestedOutput("y", class_count=2)])
    classes = answer.as_numpy("y")
    assert classes.shape == (2, 2)
    assert all(len(text.split(b":")) == 2 for text in classes.ravel())


def test_a_request_in_the_background(client: Any) -> None:
    waiting = [client.async_infer("half_plus_two", x(number)) for number in range(8)]
    assert [float(one.get_result().as_numpy("y")[0]) for one in waiting] == [number / 2 + 2 for number in range(8)]


def test_parameters_and_a_time_out(client: Any) -> None:
    answer = client.infer("half_plus_two", x(1), priority=1, timeout=10_000_000, parameters={"mine": "yes"})
    assert answer.as_numpy("y").tolist() == [2.5]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda client: client.infer("nobody", x(1)), "nobody"),
        (lambda client: client.infer("simple", x(1)), 'unexpected input "x"'),
        (lambda client: client.infer("half_plus_two", [tensor("x", "INT32", A[0])]), "FP32 is expected"),
        (lambda client: client.load_model("nobody"), "nobody"),
    ],
)
def test_errors_arrive_as_errors(client: Any, ask: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(InferenceServerException, match=said):
        ask(client)


def test_loading_and_unloading_holds_for_every_worker(client: Any) -> None:
    client.unload_model("mlp")
    try:
        assert not any(client.is_model_ready("mlp") for _ in range(10))
        assert {"name": "mlp", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"} in (
            client.get_model_repository_index()
        )
    finally:
        client.load_model("mlp")
    assert all(client.is_model_ready("mlp") for _ in range(10))


def test_statistics_count_the_requests_of_every_worker(server: Server) -> None:
    def counted() -> int:
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            (entry,) = client.get_inference_statistics("half_plus_two")["model_stats"]
            return int(entry["inference_stats"]["success"]["count"])

    before = counted()
    for _ in range(12):  # each on a connection of its own, so that several workers take part
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            client.infer("half_plus_two", x(1))
    assert {counted() for _ in range(6)} == {before + 12}


def test_the_asynchronous_client(server: Server) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("simple")
            assert (await client.get_model_metadata("simple"))["name"] == "simple"
            assert (await client.get_model_config("simple"))["name"] == "simple"
            assert await client.get_model_repository_index()
            answers = await asyncio.gather(
                client.infer("simple", simple(), request_id="1"),
                client.infer("simple", simple(binary=False)),
                client.infer("mixture", mixture(), request_compression_algorithm="gzip"),
            )
            assert np.array_equal(answers[0].as_numpy("OUTPUT0"), A + B)
            assert np.array_equal(answers[1].as_numpy("OUTPUT1"), A - B)
            assert np.array_equal(answers[2].as_numpy("text_out"), MIXTURE["text"])
            with pytest.raises(InferenceServerException, match="nobody"):
                await client.infer("nobody", x(1))

    asyncio.run(ask())
