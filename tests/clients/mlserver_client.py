"""MLServer's types and codecs, unmodified, posted to the server at the URL given; run in an environment of its own."""

import sys
import urllib.request

import numpy as np
import pandas as pd
from mlserver.codecs import NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexResponse,
)

URL = sys.argv[1]


def get(path: str) -> bytes:
    with urllib.request.urlopen(f"{URL}{path}") as answer:
        return answer.read()


def post(path: str, body: str) -> bytes:
    sent = urllib.request.Request(f"{URL}{path}", body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(sent) as answer:
        return answer.read()


def infer(model: str, request: InferenceRequest) -> InferenceResponse:
    return InferenceResponse.model_validate_json(post(f"/v2/models/{model}/infer", request.model_dump_json()))


assert MetadataServerResponse.model_validate_json(get("/v2")).name
assert MetadataModelResponse.model_validate_json(get("/v2/models/simple")).inputs[0].name == "INPUT0"
assert {model.name for model in RepositoryIndexResponse.model_validate_json(post("/v2/repository/index", "{}")).root}

rows = np.array([[0.5, 1, 2, 3], [4, 5, 6, 7]], np.float32)
request = NumpyRequestCodec.encode_request(rows)
request.inputs[0].name = "x"
response = infer("mlp", request)
assert NumpyCodec.decode_output(response.outputs[0]).shape == (2, 3)

values = np.arange(16, dtype=np.int32).reshape(1, 16)
request = InferenceRequest(
    id="7", inputs=[NumpyCodec.encode_input("INPUT0", values), NumpyCodec.encode_input("INPUT1", values)]
)
response = infer("simple", request)
assert response.id == "7"
assert np.array_equal(NumpyCodec.decode_output(response.outputs[0]), values * 2)

request = InferenceRequest(
    inputs=[
        NumpyCodec.encode_input("flag", np.array([True, False])),
        NumpyCodec.encode_input("half", np.array([1.5, 2], np.float16)),
        NumpyCodec.encode_input("number", np.array([1, 2**53 + 1], np.int64)),
        StringCodec.encode_input("text", ["a", "é"]),
    ]
)
for one in request.inputs:  # codecs write a column of them, the model takes a vector
    one.shape = [2]
outputs = {output.name: output for output in infer("mixture", request).outputs}
assert NumpyCodec.decode_output(outputs["number_out"]).ravel().tolist() == [1, 2**53 + 1]
assert StringCodec.decode_output(outputs["text_out"]) == ["a", "é"]

table = pd.DataFrame({"x": [1.0, 2.0]})
request = PandasCodec.encode_request(table)
request.inputs[0].shape = [2]
request.inputs[0].datatype = "FP32"
assert infer("half_plus_two", request).outputs[0].data.root == [2.5, 3.0]
