"""The REST API of TensorFlow Serving.

    POST /v1/models/NAME[/versions/V or /labels/L]:predict, :classify, :regress
    GET  /v1/models/NAME[/versions/V or /labels/L][/metadata]
    GET  /v1/models

The path is matched as it was sent, since NAME and L are percent-decoded only after it has been taken apart.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson
from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter, Rule

from serving import inference
from serving.access.grants import Need, Right
from serving.errors import InvalidArgument, MethodNotAllowed, NotFound
from serving.inference import Inference, ModelChoice
from serving.models.lifecycle import Handle, VersionStatus
from serving.models.servable import DEFAULT_SIGNATURE, Signature
from serving.rest import schemas
from serving.rest.body import read_body
from serving.rest.http import json_answer, malformed, raw_path, trace
from serving.settings import Settings
from serving.tensors import encode
from serving.tensors.examples import decode_examples
from serving.tensors.parse import parse
from serving.tensors.skim import Skimmed, skim

_NAME = r"/(?P<name>[^/:]+)"
_CHOICE = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_RUN = re.compile(rf"(?i)/v1/models{_NAME}{_CHOICE}:(?P<verb>(?-i:predict|classify|regress))")
_LOOK = re.compile(rf"(?i)/v1/models(?:{_NAME})?{_CHOICE}(?P<metadata>/metadata)?")
_MAX_VERSION = 2**63 - 1
_ENVELOPE = schemas.Envelope()
_EXAMPLES = schemas.Examples()


def needed(path: str) -> Need | None:
    """What a caller must be granted for a path as it was sent; None for one that means nothing here."""
    if match := _RUN.fullmatch(path):
        return Need(Right.PREDICT, unquote(match["name"]))
    if match := _LOOK.fullmatch(path):
        return Need(Right.METADATA, None if match["name"] is None else unquote(match["name"]))
    return None


class AnyV1Path(BaseConverter):
    """Every path below /v1, in any case: which of them mean something, the patterns above decide."""

    regex = r"(?i:v1)(?:/.*)?"
    part_isolating = False


def blueprint(models: Inference, settings: Settings) -> Blueprint:
    """The routes of the API."""
    api = Blueprint("v1", __name__)
    protocol = _Protocol(models, settings)

    @api.endpoint("v1.dispatch")
    def dispatch(path: str) -> Response:
        return protocol.answer()

    @api.record_once
    def add_rule(state: BlueprintSetupState) -> None:
        """Route every method; which of them a path takes is known only once the path is understood."""
        state.app.url_map.converters["v1"] = AnyV1Path
        state.app.url_map.add(Rule("/<v1:path>", endpoint="v1.dispatch"))

    return api


class _Protocol:
    def __init__(self, models: Inference, settings: Settings) -> None:
        self._models = models
        self._settings = settings
        self._look_methods = ("GET",) if settings.upstream_status else ("GET", "HEAD")
        self._verbs: dict[str, Callable[[ModelChoice, bytes], Response]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    def answer(self) -> Response:
        """Answer the request in hand."""
        path = raw_path()
        if match := _RUN.fullmatch(path):
            _check_method("POST")
            return self._run(match["verb"], _choice(match))
        if match := _LOOK.fullmatch(path):
            _check_method(*self._look_methods)
            return self._look(match)
        raise NotFound(malformed())

    def _run(self, verb: str, choice: ModelChoice) -> Response:
        trace().method = verb
        limits = self._settings
        body = read_body(request.environ, limits.max_body_bytes, limits.max_decompressed_bytes)
        return self._verbs[verb](choice, body)

    def _look(self, match: re.Match[str]) -> Response:
        if match["name"] is None:
            return self._list(match)
        choice = _choice(match)
        return self._metadata(choice) if match["metadata"] else self._status(choice)

    def _predict(self, choice: ModelChoice, body: bytes) -> Response:
        skimmed = skim(body)
        document = parse(body) if skimmed is None else skimmed.envelope
        signature_name = schemas.load(_ENVELOPE, document)["signature_name"]
        with self._borrow(choice) as handle:
            signature = _predict_signature(handle, signature_name)
            read = None if skimmed is None else _skimmed_tensors(signature, skimmed)
            if read is None:
                read = _tensors(signature, signature_name, document if skimmed is None else parse(body))
            rows, inputs = read
            outputs = self._models.run(handle, signature, inputs)
        write = encode.encode_rows if rows else encode.encode_columns
        return _versioned(write(outputs, self._settings.non_finite), handle.version)

    def _classify(self, choice: ModelChoice, body: bytes) -> Response:
        signature_name, examples = _examples(parse(body))
        with self._borrow(choice) as handle:
            signature = _example_signature(handle, signature_name, inference.check_classify)
            classes, scores = self._models.classify(handle, signature, examples)
        return _versioned(encode.encode_classes(classes, scores, self._settings.non_finite), handle.version)

    def _regress(self, choice: ModelChoice, body: bytes) -> Response:
        signature_name, examples = _examples(parse(body))
        with self._borrow(choice) as handle:
            signature = _example_signature(handle, signature_name, inference.check_regress)
            values = self._models.regress(handle, signature, examples)
        return _versioned(encode.encode_regressions(values, self._settings.non_finite), handle.version)

    def _metadata(self, choice: ModelChoice) -> Response:
        with self._borrow(choice) as handle:
            return _versioned(orjson.dumps(_metadata(handle)), handle.version)

    def _status(self, choice: ModelChoice) -> Response:
        statuses = self._models.statuses(choice)
        return json_answer(orjson.dumps({"model_version_status": [_status(status) for status in statuses]}))

    def _list(self, match: re.Match[str]) -> Response:
        if self._settings.upstream_status or any(match.groups()):
            raise InvalidArgument("Missing model name in request.")
        models = [
            {"name": name, "model_version_status": [_status(status) for status in statuses], "version_labels": labels}
            for name, (statuses, labels) in self._models.models().items()
        ]
        return json_answer(orjson.dumps({"models": models}))

    def _borrow(self, choice: ModelChoice) -> Handle:
        """Borrow a version, and note it for the log and the metrics: only models that exist get a line there."""
        handle = self._models.borrow(choice)
        notes = trace()
        notes.model, notes.version = handle.model, str(handle.version)
        return handle


def _check_method(*allowed: str) -> None:
    if request.method not in allowed:
        raise MethodNotAllowed(malformed(), allowed)


def _choice(match: re.Match[str]) -> ModelChoice:
    version = None if match["version"] is None else int(match["version"])
    if version is not None and version > _MAX_VERSION:
        raise InvalidArgument(f"Failed to convert version: {match['version']} to numeric.")
    return ModelChoice(unquote(match["name"]), version, None if match["label"] is None else unquote(match["label"]))


def _predict_signature(handle: Handle, name: str) -> Signature:
    signature = inference.find_signature(handle, name)
    if signature is None:
        raise InvalidArgument(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
    return signature


def _tensors(signature: Signature, asked_for: str, document: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Whether a predict request is in row format, and its tensors. `"inputs": {}` calls a signature without inputs."""
    if not signature.inputs and document.get("inputs") != {}:
        raise InvalidArgument(f"Failed to get input map for signature: {asked_for or 'DEFAULT'}")
    read = schemas.load(schemas.predict_schema(signature), document)
    return ("instances" in read, next(iter(read.values())))


def _skimmed_tensors(signature: Signature, skimmed: Skimmed) -> tuple[bool, dict[str, Any]] | None:
    """The same for a body that was skimmed; None where it has to be parsed after all."""
    if len(signature.inputs) != 1:
        return None
    ((name, spec),) = signature.inputs.items()
    array = None if spec.dtype is None else skimmed.tensor(spec.dtype)
    return None if array is None else (skimmed.key == "instances", {name: array})


def _examples(document: Any) -> tuple[str, list[Any]]:
    signature_name = schemas.load(_ENVELOPE, document)["signature_name"]
    envelope = schemas.load(_EXAMPLES, document)
    return signature_name, decode_examples(envelope["examples"], envelope["context"])


def _example_signature(handle: Handle, name: str, check: Callable[[Signature], None]) -> Signature:
    signature = inference.find_signature(handle, name)
    if signature is None:
        raise InvalidArgument(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    check(signature)
    return signature


def _versioned(body: bytes, version: int) -> Response:
    response = json_answer(body)
    response.headers["X-Model-Version"] = str(version)
    return response


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
