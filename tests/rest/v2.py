"""What tests of the Open Inference Protocol send."""

import json
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

HEADER = "Inference-Header-Content-Length"


def tensor(name: str, datatype: str, shape: list[int], data: Any = None, **parameters: Any) -> dict[str, Any]:
    """An input; without data its parameters say where that is."""
    sent: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    return sent | ({} if data is None else {"data": data}) | ({"parameters": parameters} if parameters else {})


def infer(client: FlaskClient, model: str, document: Any, tail: bytes = b"", **headers: str) -> TestResponse:
    """The answer to an inference request; with binary data behind the JSON the header says how long that is."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if tail:
        sent.setdefault(HEADER, str(len(text)))
    return client.post(f"/v2/models/{model}/infer", data=text + tail, headers=sent)


def half(*values: float, **more: Any) -> dict[str, Any]:
    """A request to half_plus_two."""
    return {"inputs": [tensor("x", "FP32", [len(values), 1], list(values))], **more}
