"""The REST API of TensorFlow Serving.

    POST /v1/models/NAME[/versions/V or /labels/L]:predict, :classify, :regress
    GET  /v1/models/NAME[/versions/V or /labels/L][/metadata]
    GET  /v1/models

The path is matched as it was sent, since NAME and L are percent-decoded only after it has been taken apart.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson
from flask import Blueprint

from serving import inference
from serving.access.grants import Need, Right
from serving.errors import InvalidArgument, MethodNotAllowed, NotFound, ServingError
from serving.inference import CLASSIFY_OUTPUTS, Inference, ModelChoice
from serving.models.lifecycle import Handle, VersionStatus
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest import schemas
from serving.rest.application import Answer, json_answer
from serving.rest.forms import answers, readers
from serving.rest.http import heed_deadline
from serving.rest.predict import check_envelope, read_predict
from serving.rest.prefix import everything_below
from serving.rest.remembered import remembered
from serving.rest.room import Room
from serving.rest.trace import environ_in_hand, http_method, malformed, trace
from serving.settings import Settings
from serving.tensors import encode
from serving.tensors.examples import decode_examples
from serving.tensors.parse import parse
from serving.tensors.spec import Array

_NAME = r"/(?P<name>[^/:]+)"
_CHOICE = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_RUN = re.compile(rf"(?i)/v1/models{_NAME}{_CHOICE}:(?P<verb>(?-i:predict|classify|regress))")
_LOOK = re.compile(rf"(?i)/v1/models(?:{_NAME})?{_CHOICE}(?P<metadata>/metadata)?")

_MAX_VERSION = 2**63 - 1
_EXAMPLES = schemas.Examples()


def needed(path: str) -> Need | None:
    """What a caller must be granted for a path as it was sent; None for one that means nothing here."""
    if match := _RUN.fullmatch(path):
        return Need(Right.PREDICT, unquote(match["name"]))
    if match := _LOOK.fullmatch(path):
        return Need(Right.METADATA, None if match["name"] is None else unquote(match["name"]))
    return None


def blueprint(models: Inference, settings: Settings, room: Room) -> Blueprint:
    """The routes of the API."""
    return everything_below("v1", r"(?i:v1)", _Protocol(models, settings, room).answer)


class _Protocol:
    def __init__(self, models: Inference, settings: Settings, room: Room) -> None:
        self._models = models
        self._room = room
        self._settings = settings
        self._look_methods = ("GET",) if settings.upstream_status else ("GET", "HEAD")
        self._verbs: dict[str, Callable[[ModelChoice, bytes | memoryview], Answer]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    def answer(self) -> Answer:
        """Answer the request in hand."""
        path = trace().path
        if run := _understand_run(path):
            _check_method("POST")
            return self._run(*run)
        if match := _LOOK.fullmatch(path):
            _check_method(*self._look_methods)
            return self._look(match)
        raise NotFound(malformed())

    def _run(self, verb: str, choice: ModelChoice) -> Answer:
        trace().method = verb
        heed_deadline()
        return self._verbs[verb](choice, self._room.read_text())

    def _look(self, match: re.Match[str]) -> Answer:
        if match["name"] is None:
            return self._list(match)
        choice = _choice(match)
        return self._metadata(choice) if match["metadata"] else self._status(choice)

    def _predict(self, choice: ModelChoice, body: bytes | memoryview) -> Answer:
        environ, caller = environ_in_hand(), trace().caller
        read = readers.reader_of(environ.get("CONTENT_TYPE", ""))
        accepted = answers.accepted(environ.get("HTTP_ACCEPT", ""))
        with self._borrow_for(choice, body) if read is None else self._borrow(choice) as handle:
            servable = handle.servable
            with self._room.reading() as objects:
                if read is None:
                    asked = read_predict(servable.signatures, body, objects.make_room)
                else:
                    sent = self._sent(body, objects.need)
                    asked = read(sent, servable.signatures, servable.about.image_input)
            self._room.note_tensors(body, asked.inputs)
            media_type = answers.choose(accepted, asked.signature)
            outputs = self._models.run(handle, asked.signature, asked.inputs, caller)
        write = partial(answers.write, media_type, outputs, asked.in_rows, self._settings.non_finite)
        return _versioned(self._room.write(outputs, write, answers.cost(media_type)), handle.version)

    def _sent(self, body: bytes | memoryview, need: Callable[[int], None]) -> readers.Sent:
        environ = environ_in_hand()
        return readers.Sent(
            body,
            environ["CONTENT_TYPE"],
            environ.get("QUERY_STRING", ""),
            self._settings.max_decompressed_bytes,
            trace().caller.check,
            need,
        )

    def _classify(self, choice: ModelChoice, body: bytes | memoryview) -> Answer:
        signature_name, examples = self._examples(body)
        with self._borrow(choice) as handle:
            signature = _example_signature(handle, signature_name, inference.check_classify)
            classes, scores = self._models.classify(handle, signature, examples, trace().caller)
        outputs = {
            name: array for name, array in zip(CLASSIFY_OUTPUTS, (classes, scores), strict=True) if array is not None
        }
        return self._write(handle, outputs, lambda: encode.encode_classes(classes, scores, self._settings.non_finite))

    def _regress(self, choice: ModelChoice, body: bytes | memoryview) -> Answer:
        signature_name, examples = self._examples(body)
        with self._borrow(choice) as handle:
            signature = _example_signature(handle, signature_name, inference.check_regress)
            values = self._models.regress(handle, signature, examples, trace().caller)
        return self._write(
            handle, {"outputs": values}, lambda: encode.encode_regressions(values, self._settings.non_finite)
        )

    def _write(self, handle: Handle, outputs: Mapping[str, Array], encoded: Callable[[], bytes]) -> Answer:
        return _versioned(self._room.write(outputs, lambda: json_answer(encoded())), handle.version)

    def _metadata(self, choice: ModelChoice) -> Answer:
        with self._borrow(choice) as handle:
            return _versioned_json(orjson.dumps(_metadata(handle)), handle.version)

    def _status(self, choice: ModelChoice) -> Answer:
        statuses = self._models.statuses(choice)
        return json_answer(orjson.dumps({"model_version_status": [_status(status) for status in statuses]}))

    def _list(self, match: re.Match[str]) -> Answer:
        if self._settings.upstream_status or any(match.groups()):
            raise InvalidArgument("Missing model name in request.")
        models = [
            {"name": name, "model_version_status": [_status(status) for status in statuses], "version_labels": labels}
            | {"batching": batching, "image_input": self._models.image_inputs(name)}
            for name, (statuses, labels, batching) in self._models.models().items()
        ]
        return json_answer(orjson.dumps({"models": models}))

    def _borrow_for(self, choice: ModelChoice, body: bytes | memoryview) -> Handle:
        """Borrow a version before its request is read; of an error in both, that of the request is told."""
        try:
            return self._borrow(choice)
        except ServingError:
            with self._room.reading() as objects:
                check_envelope(body, objects.make_room)
            raise

    def _examples(self, body: bytes | memoryview) -> tuple[str, list[Any]]:
        with self._room.reading() as objects:
            objects.make_room(body)
            document = parse(body)
            signature_name = schemas.signature_name(document)
            envelope = schemas.load(_EXAMPLES, document)
            return signature_name, decode_examples(envelope["examples"], envelope["context"])

    def _borrow(self, choice: ModelChoice) -> Handle:
        """Borrow a version, and note it for the log and the metrics: only models that exist get a line there."""
        handle = self._models.borrow(choice)
        notes = trace()
        notes.model, notes.version = handle.model, str(handle.version)
        return handle


def _check_method(*allowed: str) -> None:
    if http_method() not in allowed:
        raise MethodNotAllowed(malformed(), allowed)


@remembered
def _understand_run(path: str) -> tuple[str, ModelChoice] | None:
    """The verb and the model that a path names; None for a path of another kind."""
    match = _RUN.fullmatch(path)
    return (match["verb"], _choice(match)) if match else None


def _choice(match: re.Match[str]) -> ModelChoice:
    version = None if match["version"] is None else int(match["version"])
    if version is not None and version > _MAX_VERSION:
        raise InvalidArgument(f"Failed to convert version: {match['version']} to numeric.")
    return ModelChoice(unquote(match["name"]), version, None if match["label"] is None else unquote(match["label"]))


def _example_signature(handle: Handle, name: str, check: Callable[[Signature], None]) -> Signature:
    signature = inference.find_signature(handle, name)
    if signature is None:
        raise InvalidArgument(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    check(signature)
    return signature


def _versioned_json(body: bytes, version: int) -> Answer:
    return _versioned(json_answer(body), version)


def _versioned(answer: Answer, version: int) -> Answer:
    answer.headers["X-Model-Version"] = str(version)
    return answer


def _metadata(handle: Handle) -> dict[str, Any]:
    return {
        "model_spec": {"name": handle.model, "signature_name": "", "version": str(handle.version)},
        "metadata": {"signature_def": {"signature_def": handle.servable.metadata}},
    }


def _status(status: VersionStatus) -> dict[str, Any]:
    return {
        "version": str(status.version),
        "state": status.state,
        "status": {"error_code": status.error_code, "error_message": status.error_message},
    }
