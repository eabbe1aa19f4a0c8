"""What holds for every protocol, in whatever form the tensors travel."""

import gzip
import json
import time
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flask.testing import FlaskClient

from serving.caller import CALLER, Caller
from tests.rest.api import error, serve
from tests.rest.protocols import PROTOCOLS, V1

FLOATS = [0.0, -1.5, float("inf"), float("-inf")]
EVERY_DTYPE = {
    "float": np.array([*FLOATS, 3.4028234663852886e38, 1e-45], np.float32),
    "double": np.array([*FLOATS, 1.7976931348623157e308, 5e-324], np.float64),
    "half": np.array([*FLOATS, 65504.0], np.float16),
    "bfloat16": np.array([*FLOATS, 3.0], ml_dtypes.bfloat16),
    "bool": np.array([True, False]),
    "string": np.array([b"", b"a", 'é\0\n"'.encode()], object),
    **{
        name: np.array([np.iinfo(name).min, 1, np.iinfo(name).max], name)
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> V1:
    """Each of the protocols in turn."""
    return PROTOCOLS[request.param]


def row(*values: float) -> Any:
    return np.array(values, np.float32).reshape(-1, 1)


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("shape", [(-1,), (1, -1), (-1, 1, 1)])
def test_every_dtype_goes_through_unchanged(
    client: FlaskClient, protocol: V1, dtype: str, shape: tuple[int, ...]
) -> None:
    sent = EVERY_DTYPE[dtype].reshape(shape)
    answer = protocol.run(client, "echo", {"x": sent}, dtype)
    assert answer.status_code == 200, answer.text
    values = sent.astype(np.float32) if dtype == "bfloat16" else sent
    received = protocol.outputs(answer)["y"]
    assert np.array(received, object).shape == sent.shape
    if dtype == "string":
        assert received == np.vectorize(bytes.decode, otypes=[object])(sent).tolist()
    else:
        assert np.array_equal(np.array(received, values.dtype), values)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_tensors_without_elements_go_through(client: FlaskClient, protocol: V1, shape: tuple[int, ...]) -> None:
    answer = protocol.run(client, "echo", {"x": np.zeros(shape, np.float32)}, "float")
    assert protocol.outputs(answer) == {"y": np.zeros(shape).tolist()}


def test_several_inputs_give_several_outputs(client: FlaskClient, protocol: V1) -> None:
    tensors = {
        "a": np.array([[1, 2], [0.5, 0]], np.float32),
        "b": np.array([10, -1], np.int64),
        "c": np.array([b"x", b"y"], object),
    }
    answer = protocol.run(client, "several_inputs", tensors)
    assert protocol.outputs(answer) == {"sum": [13.0, -0.5], "text": ["x:10", "y:-1"]}


@pytest.mark.parametrize(("version", "answer"), [("7", 7.0), ("12", 12.0), ("", 12.0)])
def test_a_version_is_called_by_its_number_and_the_latest_by_none(
    client: FlaskClient, protocol: V1, version: str, answer: float
) -> None:
    response = protocol.run(client, "times", {"x": np.ones(1, np.float32)}, version=version)
    assert protocol.outputs(response) == {"y": [answer]}
    assert response.headers["X-Model-Version"] == (version or "12")


def test_a_signature_is_called_by_its_name(client: FlaskClient, protocol: V1) -> None:
    x = {"x": np.array([3], np.float32)}
    assert protocol.outputs(protocol.run(client, "several_signatures", x, "negate")) == {"y": [-3.0]}
    assert protocol.outputs(protocol.run(client, "several_signatures", x)) == {"y": [6.0]}
    assert '"nothing"' in error(protocol.run(client, "several_signatures", x, "nothing"))


@pytest.mark.parametrize(
    ("model", "version", "named"), [("nobody", "", "nobody"), ("nobody", "1", "nobody"), ("times", "99", "99")]
)
def test_a_model_or_version_that_is_not_there_is_named(
    client: FlaskClient, protocol: V1, model: str, version: str, named: str
) -> None:
    assert named in error(protocol.run(client, model, {"x": row(1)}, version=version), 404)


def test_an_input_that_is_missing_is_named(client: FlaskClient, protocol: V1) -> None:
    tensors = {"a": np.ones((1, 2), np.float32), "b": np.array([1], np.int64)}
    said = error(protocol.run(client, "several_inputs", tensors))
    assert "issing" in said
    assert "c" in said


def test_a_shape_that_is_refused_is_named_beside_the_one_of_the_signature(client: FlaskClient, protocol: V1) -> None:
    tensors = {
        "a": np.ones((2, 1), np.float32),
        "b": np.ones(3, np.int64),
        "c": np.array([b"x"], object),
    }
    said = error(protocol.run(client, "several_inputs", tensors))
    assert 'input "a" has shape [2,1]' in said
    assert "[-1,2]" in said


def test_what_a_model_says_against_its_input_is_passed_on(client: FlaskClient, protocol: V1) -> None:
    assert "x is too large" in error(protocol.run(client, "raises", {"x": np.array([100], np.int32)}))


def test_a_run_without_end_is_stopped_in_time(models: Path, protocol: V1) -> None:
    with serve(model_dir=models / "endless", request_timeout_seconds=0.5) as client:
        assert "Timed out" in error(protocol.run(client, "model", {"x": np.ones(1, np.float32)}), 504)
        assert protocol.outputs(protocol.run(client, "model", {"x": -np.ones(1, np.float32)})) == {"y": [-1.0]}


def test_a_request_that_nobody_waits_for_is_not_looked_at(client: FlaskClient, protocol: V1) -> None:
    path, gone = protocol.path("half_plus_two"), {CALLER: Caller(gone=True)}
    assert "hung up" in error(client.post(path, data="not even JSON", environ_overrides=gone), 499)
    late = {CALLER: Caller(arrived=time.monotonic() - 2)}
    headers = {"X-Request-Timeout-Ms": "1500"}
    assert "Timed out" in error(client.post(path, data="?", headers=headers, environ_overrides=late), 504)
    assert "milliseconds" in error(client.post(path, headers={"X-Request-Timeout-Ms": "soon"}))


def test_a_compressed_body_is_read(client: FlaskClient, protocol: V1) -> None:
    body, headers = protocol.body({"x": row(1, 2)})
    for encoding, compressed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), ("identity", body)):
        sent = {**headers, "Content-Encoding": encoding}
        answer = client.post(protocol.path("half_plus_two"), data=compressed, headers=sent)
        assert protocol.outputs(answer) == {"y": [[2.5], [3.0]]}


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_another_encoding_is_refused(client: FlaskClient, protocol: V1, encoding: str) -> None:
    body, headers = protocol.body({"x": row(1)})
    sent = {**headers, "Content-Encoding": encoding}
    assert encoding in error(client.post(protocol.path("half_plus_two"), data=body, headers=sent), 415)


@pytest.mark.parametrize("asked", ["gzip", "deflate", "deflate, gzip", "br, gzip;q=0.5"])
def test_a_large_answer_is_compressed_for_who_asks(client: FlaskClient, protocol: V1, asked: str) -> None:
    body, headers = protocol.body({"x": np.zeros((4000, 1), np.float32)})
    sent = {**headers, "Accept-Encoding": asked}
    answer = client.post(protocol.path("half_plus_two"), data=body, headers=sent)
    encoding = answer.headers["Content-Encoding"]
    assert encoding == ("gzip" if "gzip" in asked else "deflate")
    answer.set_data({"gzip": gzip.decompress, "deflate": zlib.decompress}[encoding](answer.data))
    assert protocol.outputs(answer)["y"] == [[2.0]] * 4000


@pytest.mark.parametrize("asked", ["br", "zstd", "identity", "gzip;q=0"])
def test_an_answer_is_never_compressed_otherwise(client: FlaskClient, protocol: V1, asked: str) -> None:
    body, headers = protocol.body({"x": np.zeros((4000, 1), np.float32)})
    sent = {**headers, "Accept-Encoding": asked}
    answer = client.post(protocol.path("half_plus_two"), data=body, headers=sent)
    assert "Content-Encoding" not in answer.headers


def test_a_body_over_the_limit_is_refused(half_plus_two: Path, protocol: V1) -> None:
    body, headers = protocol.body({"x": row(1)})
    with serve(model_dir=half_plus_two, max_body_bytes=len(body)) as client:
        assert client.post(protocol.path("model"), data=body, headers=headers).status_code == 200
    with serve(model_dir=half_plus_two, max_body_bytes=len(body) - 1) as client:
        said = error(client.post(protocol.path("model"), data=body, headers=headers), 413)
        assert "SERVING_MAX_BODY_BYTES" in said


def test_a_body_that_decompresses_beyond_the_limit_is_refused(half_plus_two: Path, protocol: V1) -> None:
    body, headers = protocol.body({"x": row(1)})
    sent = {**headers, "Content-Encoding": "gzip"}
    with serve(model_dir=half_plus_two, max_decompressed_bytes=len(body) - 1) as client:
        error(client.post(protocol.path("model"), data=gzip.compress(body), headers=sent), 413)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b"\xff", b'{"inputs": {}}'])
def test_a_body_that_is_no_request_is_refused(client: FlaskClient, protocol: V1, body: bytes) -> None:
    assert error(client.post(protocol.path("half_plus_two"), data=body))


def test_levels_without_end_are_refused(client: FlaskClient, protocol: V1) -> None:
    body = b'{"inputs": ' + b"[" * 100_000
    assert error(client.post(protocol.path("half_plus_two"), data=body))


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain", "x"])
def test_the_content_type_does_not_matter(client: FlaskClient, protocol: V1, content_type: str | None) -> None:
    body, headers = protocol.body({"x": row(1)})
    answer = client.post(protocol.path("half_plus_two"), data=body, headers=headers, content_type=content_type)
    assert protocol.outputs(answer) == {"y": [[2.5]]}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_refused_with_the_right_one(client: FlaskClient, protocol: V1, method: str) -> None:
    answer = client.open(protocol.path("half_plus_two"), method=method)
    error(answer, 405)
    assert answer.headers["Allow"] == "POST"


def test_requests_are_counted_by_model_version_and_method(client: FlaskClient, protocol: V1) -> None:
    def count() -> float:
        label = f'serving_requests_total{{method="{protocol.method}",model="times",status="200",version="12"}} '
        lines = client.get("/metrics").text.splitlines()
        return next((float(line.removeprefix(label)) for line in lines if line.startswith(label)), 0)

    before = count()
    protocol.run(client, "times", {"x": np.ones(1, np.float32)})
    assert count() == before + 1


def test_a_value_that_is_not_finite_is_a_bare_token_in_json(client: FlaskClient) -> None:
    for protocol in (PROTOCOLS["v1"], PROTOCOLS["v2"]):
        answer = protocol.run(client, "not_finite", {"x": np.array([1], np.float32)})
        assert b"NaN,Infinity,-Infinity,1.0" in answer.data
        assert answer.status_code == 200


def test_a_value_that_is_not_finite_is_null_or_refused_where_that_is_set(models: Path) -> None:
    x = {"x": np.array([1], np.float32)}
    for protocol in (PROTOCOLS["v1"], PROTOCOLS["v2"]):
        with serve(model_dir=models / "not_finite", non_finite="null") as client:
            assert b"null,null,null,1.0" in protocol.run(client, "model", x).data
        with serve(model_dir=models / "not_finite", non_finite="error") as client:
            assert "SERVING_NON_FINITE" in error(protocol.run(client, "model", x))


def test_an_error_is_short_however_long_the_request(client: FlaskClient, protocol: V1) -> None:
    name = "x" * 100_000
    answer = protocol.run(client, "half_plus_two", {name: row(1)})
    error(answer)
    assert len(answer.data) <= 4096
    assert json.loads(answer.data)["error"]
