"""Inference: the body of a request to tensors, through the model, and to the body of an answer."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from serving.errors import InvalidArgument
from serving.inference import Inference, ModelChoice, find_signature
from serving.models.lifecycle import Handle
from serving.models.signature import Signature
from serving.rest import schemas
from serving.rest.application import Answer, json_answer
from serving.rest.http import heed_deadline
from serving.rest.room import UNCOUNTED_TEXT_BYTES, Room
from serving.rest.trace import environ_in_hand, trace
from serving.rest.v2 import body
from serving.rest.v2.inputs import binary_strings_bytes, read_inputs, read_raw_input
from serving.rest.v2.metadata import described, signature_names
from serving.rest.v2.outputs import Wanted, choose_outputs, render
from serving.rest.v2.schemas import Infer as Envelope
from serving.rest.v2.schemas import RequestParameters
from serving.settings import Settings
from serving.tensors.cost import MakeRoom
from serving.tensors.parse import parse
from serving.tensors.spec import Array
from serving.tensors.unread import parse_around

SHORT_ENVELOPE = 1024
"""The envelope of binary tensors is remembered where its text is no longer."""

_ENVELOPE = Envelope()
_RAW: dict[str, Any] = {"id": "", "parameters": RequestParameters(binary_output=True), "inputs": None, "outputs": ()}
"""The envelope of a body that is nothing but the bytes of the only input."""


class Infer:
    """Answers inference requests. May be used by several threads at once."""

    def __init__(self, models: Inference, settings: Settings, room: Room) -> None:
        self._models = models
        self._room = room
        self._settings = settings

    def answer(self, choice: ModelChoice) -> Answer:
        """Answer the request in hand, which is for this model."""
        notes = trace()
        notes.method = "infer"
        heed_deadline()
        sent = self._room.read_body()
        started = time.perf_counter_ns()
        json_bytes = environ_in_hand().get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH")
        text, tail = body.split(sent, json_bytes)
        with self._room.reading() as objects:
            is_raw = json_bytes is not None and not text
            envelope = _RAW if is_raw else _envelope(text, objects.make_room, bool(tail))
            parameters: RequestParameters = envelope["parameters"]
            if parameters.timeout:
                notes.caller.allow(parameters.timeout / 1e6)
            with self._models.borrow(choice) as handle:
                notes.model, notes.version = handle.model, str(handle.version)
                signature = _signature(handle, parameters.signature_name)
                outputs = choose_outputs(signature, envelope["outputs"], parameters.binary_output)
                wanted = Wanted(outputs, envelope["id"])
                if len(tail) > UNCOUNTED_TEXT_BYTES and not is_raw:
                    objects.need_more(binary_strings_bytes(envelope["inputs"]))
                inputs = _inputs(signature, envelope["inputs"], tail)
                del envelope
                objects.give_back()
                self._room.note_tensors(sent, inputs)
                input_ns = time.perf_counter_ns() - started
                tensors = self._models.run(handle, signature, inputs, notes.caller)
                started = time.perf_counter_ns()
                answer = self._room.write(tensors, lambda: self._written(handle, wanted, tensors), wanted.bytes_of)
                self._models.note_conversion(handle, input_ns, time.perf_counter_ns() - started)
        return answer

    def _written(self, handle: Handle, wanted: Wanted, tensors: Mapping[str, Array]) -> Answer:
        pieces = render(handle, wanted, tensors, self._settings.non_finite)
        return _versioned(pieces, any(output.binary for output in wanted.outputs), handle.version)


def _envelope(text: memoryview, make_room: MakeRoom, is_before_tensors: bool) -> Mapping[str, Any]:
    """The envelope that a text is."""
    if is_before_tensors and len(text) <= SHORT_ENVELOPE:
        short = bytes(text)
        if b'"id"' not in short and b'"data"' not in short:
            return _known_envelope(short)
    return schemas.load(_ENVELOPE, parse_around(bytes(text), make_room))


@lru_cache(256)
def _known_envelope(text: bytes) -> Mapping[str, Any]:
    """An envelope that tells forms and no values, so that it may well come again."""
    return schemas.load(_ENVELOPE, parse(text))


def _inputs(signature: Signature, sent: Any, tail: memoryview) -> dict[str, Array]:
    return read_raw_input(signature, tail) if sent is None else read_inputs(signature, sent, tail)


def _signature(handle: Handle, name: str) -> Signature:
    """The signature that a request names with the parameter `signature_name`, or the one that the metadata shows."""
    signature = find_signature(handle, name) if name else described(handle)
    if signature is None:
        names = ", ".join(signature_names(handle))
        asked = f'has no signature "{name}"' if name else "has several signatures and none is the default"
        raise InvalidArgument(f'Model {handle.model} {asked}; name one in the parameter "signature_name": {names}')
    return signature


def _versioned(pieces: Sequence[bytes | memoryview], binary: bool, version: int) -> Answer:
    text, *tail = pieces
    answer = json_answer(bytes(text))
    answer.headers["X-Model-Version"] = str(version)
    if binary:
        answer.headers |= {"Content-Type": "application/octet-stream", body.HEADER: str(len(text))}
        answer.tail = tail
    return answer
