"""The body of a predict request: the signature that it calls, and the tensors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.errors import InvalidArgument
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest import schemas
from serving.tensors.cost import MakeRoom, unbounded
from serving.tensors.outline import outline
from serving.tensors.parse import parse
from serving.tensors.spec import Array


class PredictRequest(NamedTuple):
    """What a client asks for; `in_rows` says in which format, which is that of the answer too."""

    signature: Signature
    in_rows: bool
    inputs: Mapping[str, Array]


def read_predict(
    signatures: Mapping[str, Signature], body: bytes | memoryview, make_room: MakeRoom = unbounded
) -> PredictRequest:
    """Read a predict request to a model with these signatures; InvalidArgument says what is wrong with it."""
    return _read_fast(signatures, body, make_room) or _read_carefully(signatures, body, make_room)


def check_envelope(body: bytes | memoryview, make_room: MakeRoom = unbounded) -> None:
    """Raise what is wrong with a request whichever model it is for."""
    schemas.signature_name(_document(body, make_room))


def _read_fast(
    signatures: Mapping[str, Signature], body: bytes | memoryview, make_room: MakeRoom
) -> PredictRequest | None:
    """A usual request, whose form the readers of its signature have checked; None for any other."""
    found = outline(body)
    if found is None:
        return None
    signature = signatures.get(found.signature_name or DEFAULT_SIGNATURE)
    tensors = None if signature is None else schemas.predict_form(signature).reader.read(found, make_room)
    if signature is None or tensors is None:
        return None
    return PredictRequest(signature, found.key == "instances", tensors)


def _read_carefully(
    signatures: Mapping[str, Signature], body: bytes | memoryview, make_room: MakeRoom
) -> PredictRequest:
    """Any request, by way of its document and the schema that this has."""
    document = _document(body, make_room)
    asked_for = schemas.signature_name(document)
    signature = signatures.get(asked_for or DEFAULT_SIGNATURE)
    if signature is None:
        raise InvalidArgument(f'Serving signature name: "{asked_for or DEFAULT_SIGNATURE}" not found in signature def')
    if not signature.inputs and document.get("inputs") != {}:  # which calls a signature without inputs
        raise InvalidArgument(f"Failed to get input map for signature: {asked_for or 'DEFAULT'}")
    loaded = schemas.load(schemas.predict_form(signature).schema, document)
    return PredictRequest(signature, "instances" in loaded, next(iter(loaded.values())))


def _document(body: bytes | memoryview, make_room: MakeRoom) -> Any:
    make_room(body)
    return parse(body)
