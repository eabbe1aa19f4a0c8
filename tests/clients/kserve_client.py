"""KServe's own REST client, unmodified, against the server at the URL given; run in an environment of its own."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

A = np.arange(16, dtype=np.int32).reshape(1, 16)


def tensor(name: str, datatype: str, array: np.ndarray, binary: bool) -> InferInput:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def outputs(response: InferResponse) -> dict[str, InferOutput]:
    return {output.name: output for output in response.outputs}


async def check(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=30))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "simple")
    for binary_in in (True, False):
        for binary_out in (True, False):
            inputs = [tensor("INPUT0", "INT32", A, binary_in), tensor("INPUT1", "INT32", A, binary_in)]
            asked = [RequestedOutput(name, {"binary_data": binary_out}) for name in ("OUTPUT0", "OUTPUT1")]
            request = InferRequest("simple", inputs, request_id="7", request_outputs=asked)
            response = await client.infer(url, request, model_name="simple")
            assert response.id == "7"
            assert np.array_equal(outputs(response)["OUTPUT0"].as_numpy(), A + A)
            assert np.array_equal(outputs(response)["OUTPUT1"].as_numpy(), A - A)
    texts = np.array(["a", "é"], dtype=object)
    request = InferRequest(
        "mixture",
        [
            tensor("flag", "BOOL", np.array([True, False]), True),
            tensor("half", "FP16", np.array([1.5, 2], np.float16), True),
            tensor("number", "INT64", np.array([1, 2], np.int64), True),
            tensor("text", "BYTES", texts, True),
        ],
        parameters={"binary_data_output": True},
    )
    response = await client.infer(url, request, model_name="mixture")
    assert outputs(response)["half_out"].as_numpy().tolist() == [1.5, 2.0]
    assert outputs(response)["text_out"].as_numpy().tolist() == ["a", "é"]
    try:
        await client.infer(url, InferRequest("nobody", [tensor("x", "INT32", A, False)]), model_name="nobody")
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 404  # noqa: PT017, a script without pytest
    else:
        raise AssertionError("an unknown model was answered")
    await client.close()


asyncio.run(check(sys.argv[1]))
