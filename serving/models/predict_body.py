"""A predict request answered by a loaded model without HTTP: for golden requests and the command line."""

from typing import Any

from serving.errors import InvalidArgument
from serving.inputs.image_spec import IMAGE_INPUT
from serving.models.lifecycle import LoadedModel, Runnable
from serving.models.signature import DEFAULT_SIGNATURE
from serving.tensors.decode import decode_columns, decode_rows
from serving.tensors.encode import encode_columns, encode_rows


def answer_predict(model: Runnable, body: Any) -> bytes:
    """The JSON that the REST API would answer; a ServingError when it would be an error."""
    if type(body) is not dict:
        raise InvalidArgument("a predict request is a JSON object")
    name = body.get("signature_name", "") or DEFAULT_SIGNATURE
    signature = model.signatures.get(name) if isinstance(name, str) else None
    if signature is None:
        raise InvalidArgument(f"the model has no signature {name!r}; it has {', '.join(sorted(model.signatures))}")
    if ("instances" in body) == ("inputs" in body):
        raise InvalidArgument('a predict request has either "instances" or "inputs"')
    if "inputs" in body:
        return encode_columns(model.run(name, decode_columns(body["inputs"], signature.inputs)), "literal")
    rows = body["instances"]
    if not isinstance(rows, list) or not rows:
        raise InvalidArgument('"instances" is a list of one row or more')
    return encode_rows(model.run(name, decode_rows(rows, signature.inputs)), "literal")


def answer_picture(model: LoadedModel, picture: bytes, signature: str, max_bytes: int) -> bytes:
    """The JSON that the REST API would answer to a picture."""
    from serving.inputs.pictures import decode_pictures  # only here is a picture read without HTTP

    wanted = model.about.image_input
    if wanted is None or signature not in ("", wanted.signature):
        raise InvalidArgument(
            f"the model's directory holds no {IMAGE_INPUT} for this signature, so it takes no pictures"
        )
    return encode_rows(model.run(wanted.signature, decode_pictures([picture], wanted, max_bytes)), "literal")
