"""The protocols as clients that have the same interface, so that what both must do is tested once."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from serving.tensors.datatypes import NAMES

Tensors = Mapping[str, Any]


def as_plain(array: Any) -> Any:
    """The values of a tensor as JSON holds them; strings are those that are UTF-8."""
    if array.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(array) if array.size else array
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array


def pack(strings: Any) -> bytes:
    """Strings as the binary tensor data of BYTES."""
    return b"".join(struct.pack("<I", len(value)) + value for value in strings.ravel().tolist())


def unpack(data: bytes) -> list[bytes]:
    """The strings of the binary tensor data of BYTES."""
    values = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        values.append(data[4 : 4 + size])
        data = data[4 + size :]
    return values


class V1:
    """TensorFlow Serving's API, in columns."""

    method = "predict"

    def path(self, model: str, version: str = "") -> str:
        return f"/v1/models/{model}{f'/versions/{version}' if version else ''}:predict"

    def body(self, tensors: Tensors, signature: str = "") -> tuple[bytes, dict[str, str]]:
        inputs = {name: as_plain(array).tolist() for name, array in tensors.items()}
        return json.dumps({"signature_name": signature, "inputs": inputs}).encode(), {}

    def outputs(self, response: TestResponse) -> dict[str, Any]:
        """The values of each output, nested as its shape; that of an only output is called `y`."""
        outputs = json.loads(response.data)["outputs"]
        return outputs if isinstance(outputs, dict) else {"y": outputs}

    def run(
        self, client: FlaskClient, model: str, tensors: Tensors, signature: str = "", version: str = ""
    ) -> TestResponse:
        body, headers = self.body(tensors, signature)
        return client.post(self.path(model, version), data=body, headers=headers)


class V2(V1):
    """The Open Inference Protocol, all in JSON."""

    method = "infer"

    def path(self, model: str, version: str = "") -> str:
        return f"/v2/models/{model}{f'/versions/{version}' if version else ''}/infer"

    def body(self, tensors: Tensors, signature: str = "") -> tuple[bytes, dict[str, str]]:
        inputs = [described(name, array) | {"data": as_plain(array).tolist()} for name, array in tensors.items()]
        return json.dumps({"inputs": inputs, "parameters": {"signature_name": signature}}).encode(), {}

    def outputs(self, response: TestResponse) -> dict[str, Any]:
        return {
            output["name"]: np.array(output["data"], object).reshape(output["shape"]).tolist()
            for output in json.loads(response.data)["outputs"]
        }


class V2Binary(V2):
    """The Open Inference Protocol with binary tensors both ways."""

    def body(self, tensors: Tensors, signature: str = "") -> tuple[bytes, dict[str, str]]:
        data = [pack(array) if array.dtype == object else array.tobytes() for array in tensors.values()]
        inputs = [
            described(name, array) | {"parameters": {"binary_data_size": len(piece)}}
            for (name, array), piece in zip(tensors.items(), data, strict=True)
        ]
        parameters = {"signature_name": signature, "binary_data_output": True}
        head = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
        return head + b"".join(data), {"Inference-Header-Content-Length": str(len(head))}

    def outputs(self, response: TestResponse) -> dict[str, Any]:
        return {name: as_plain(array).tolist() for name, array in binary_outputs(response).items()}


def described(name: str, array: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": NAMES[array.dtype]}


def binary_outputs(response: TestResponse) -> dict[str, Any]:
    """The outputs of an answer that must hold all of them as binary, and nothing besides."""
    assert response.status_code == 200, response.text
    assert response.content_type == "application/octet-stream"
    length = int(response.headers["Inference-Header-Content-Length"])
    data, position, outputs = response.data, length, {}
    dtypes = {name: dtype for dtype, name in NAMES.items()}
    for output in json.loads(data[:length])["outputs"]:
        end = position + output["parameters"]["binary_data_size"]
        piece = data[position:end]
        values = (
            np.array([*unpack(piece), None], object)[:-1]
            if output["datatype"] == "BYTES"
            else np.frombuffer(piece, dtypes[output["datatype"]])
        )
        outputs[output["name"]] = values.reshape(output["shape"])
        position = end
    assert position == len(data)
    return outputs


PROTOCOLS = {"v1": V1(), "v2": V2(), "v2 binary": V2Binary()}
