"""The v2 protocol: the Open Inference Protocol, in JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from apispec import APISpec

from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest.loaded import LoadedVersion
from serving.rest.openapi import tensors
from serving.rest.openapi.operations import (
    LOOK_ERRORS,
    RUN_ERRORS,
    answer,
    any_of,
    body,
    choices,
    escaped,
    identifier,
    parameter,
)
from serving.rest.openapi.tensors import JsonSchema
from serving.rest.samples import as_json, sample_inputs
from serving.settings import Settings
from serving.tensors.datatypes import PROTO_NAMES
from serving.tensors.spec import Array, Kind, TensorSpec

_TAG = "Open Inference Protocol"
_TEXT: JsonSchema = {"type": "string"}
_LIST: JsonSchema = {"type": "array", "items": {"type": "object"}}
_NUMBERS: JsonSchema = {"type": "array", "items": {"type": "integer"}}
_EMPTY: JsonSchema = {"type": "object"}


def _object(*required: str, **properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(required or properties)}


_TENSOR = _object(name=_TEXT, datatype=_TEXT, shape=_NUMBERS)
_TENSORS: JsonSchema = {"type": "array", "items": _TENSOR}
_HEALTH = _object(live={"type": "boolean"}, ready={"type": "boolean"})
_SERVER = _object(name=_TEXT, version=_TEXT, extensions={"type": "array", "items": _TEXT})
_MODEL = _object(
    name=_TEXT, versions={"type": "array", "items": _TEXT}, platform=_TEXT, inputs=_TENSORS, outputs=_TENSORS
)
_READY = _object(name=_TEXT, ready={"const": True})
_CONFIG = _object(name=_TEXT, max_batch_size={"type": "integer", "minimum": 0}, input=_LIST, output=_LIST)
_STATISTICS = _object(model_stats={"type": "array", "items": _object("name", "version", name=_TEXT, version=_TEXT)})
_INDEX: JsonSchema = {"type": "array", "items": _object(name=_TEXT, version=_TEXT, state=_TEXT, reason=_TEXT)}

_SERVER_LOOKS: Mapping[str, tuple[str, JsonSchema]] = {
    "/v2": ("What the server can do", _SERVER),
    "/v2/health/live": ("Whether the process works", _HEALTH),
    "/v2/health/ready": ("Whether every model is available", _HEALTH),
    "/v2/models/stats": ("Statistics of every model", _STATISTICS),
}
_MODEL_LOOKS: Mapping[str, tuple[str, JsonSchema]] = {
    "": ("The tensors of a model", _MODEL),
    "/ready": ("Whether a model is available", _READY),
    "/config": ("The configuration of a model, as Triton words it", _CONFIG),
    "/stats": ("Statistics of a model", _STATISTICS),
}


def describe(spec: APISpec, versions: Sequence[LoadedVersion], settings: Settings) -> None:
    """Add the routes of the protocol."""
    spec.tag({"name": _TAG, "description": "v2 in JSON; tensors may also be sent and fetched as bytes"})
    for path, (summary, schema) in _SERVER_LOOKS.items():
        _add(spec, "get", path, summary, answer(schema, "As of now.", LOOK_ERRORS))
    _add(
        spec,
        "post",
        "/v2/repository/index",
        "The versions of every model",
        answer(_INDEX, "As of now.", LOOK_ERRORS),
        requestBody=body(_object("ready", ready={"type": "boolean"}) | {"required": []}, {}, required=False),
    )
    if versions:
        _describe_models(spec, versions)
    for version in versions:
        _describe_infer(spec, version, settings)


def _describe_models(spec: APISpec, versions: Sequence[LoadedVersion]) -> None:
    model = parameter("model", [version.model for version in versions])
    number = parameter("version", [str(version.version) for version in versions])
    for suffix, (summary, schema) in _MODEL_LOOKS.items():
        responses = answer(schema, "As of now.", LOOK_ERRORS)
        _add(spec, "get", f"/v2/models/{{model}}{suffix}", summary, responses, parameters=[model])
        path = f"/v2/models/{{model}}/versions/{{version}}{suffix}"
        _add(spec, "get", path, f"{summary} in a version", responses, parameters=[model, number])
    for verb in ("load", "unload"):
        responses = answer(_EMPTY, "Done in every worker.", (*LOOK_ERRORS, 403))
        path = f"/v2/repository/models/{{model}}/{verb}"
        _add(spec, "post", path, f"{verb.capitalize()} a model", _without_body(responses), parameters=[model])


def _without_body(responses: dict[str, Any]) -> dict[str, Any]:
    return {**responses, "200": {"description": responses["200"]["description"]}}


def _add(spec: APISpec, method: str, path: str, summary: str, responses: dict[str, Any], **more: Any) -> None:
    operation = {
        "tags": [_TAG],
        "operationId": identifier(method, path),
        "summary": summary,
        "responses": responses,
        **more,
    }
    spec.path(path, operations={method: operation})


def _describe_infer(spec: APISpec, version: LoadedVersion, settings: Settings) -> None:
    callable_ = version.callable_signatures()
    signatures = {name: its for name, its in callable_.items() if "predict" in version.methods(its)}
    for choice, what in choices(version):
        if choice.startswith("/labels/") or not signatures:
            continue
        responses = answer(
            any_of([_infer_answer(its, settings) for its in signatures.values()]),
            "The outputs.",
            RUN_ERRORS,
            X_Model_Version="The version that ran.",
        )
        _add(
            spec,
            "post",
            f"/v2/models/{escaped(version.model)}{choice}/infer",
            f"Run a signature of {version.model}, {what}",
            responses,
            requestBody=body(
                any_of([_infer_request(its) for its in signatures.values()]),
                _examples(version, signatures),
            ),
        )


def _infer_request(signature: Signature) -> JsonSchema:
    inputs = [_tensor(spec, _value(spec), _sizes(spec)) for spec in signature.inputs.values()]
    count = {"minItems": len(inputs), "maxItems": len(inputs)}
    parameters = _object("signature_name", signature_name={"const": signature.name})
    is_default = signature.name == DEFAULT_SIGNATURE
    return {
        "type": "object",
        "title": signature.name,
        "properties": {
            "id": _TEXT,
            "parameters": parameters | ({"required": []} if is_default else {}),
            "inputs": {"type": "array", **({"items": any_of(inputs)} if inputs else {}), **count},
        },
        "required": ["inputs"] if is_default else ["inputs", "parameters"],
    }


def _infer_answer(signature: Signature, settings: Settings) -> JsonSchema:
    outputs = [_tensor(spec, _answer_value(spec, settings), _rank(spec)) for spec in signature.outputs.values()]
    return {
        "type": "object",
        "title": signature.name,
        "properties": {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "outputs": {"type": "array", "items": any_of(outputs)},
        },
        "required": ["model_name", "model_version", "outputs"],
    }


def _rank(spec: TensorSpec) -> JsonSchema:
    """A shape of as many sizes as the signature states."""
    schema: JsonSchema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    return schema if spec.shape is None else {**schema, "minItems": len(spec.shape), "maxItems": len(spec.shape)}


def _sizes(spec: TensorSpec) -> JsonSchema:
    """A shape of just the sizes that the signature states."""
    sizes = [{} if size is None else {"const": size} for size in spec.shape or ()]
    return _rank(spec) | ({"prefixItems": sizes} if sizes else {})


def _tensor(spec: TensorSpec, value: JsonSchema, shape: JsonSchema) -> JsonSchema:
    assert spec.dtype is not None
    return _object(
        name={"const": spec.name},
        datatype={"const": PROTO_NAMES[spec.proto]},
        shape=shape,
        data={"type": "array", "items": value, "description": "The values, row by row."},
    )


def _value(spec: TensorSpec) -> JsonSchema:
    assert spec.dtype is not None
    return tensors.value_schema(spec.dtype)


def _answer_value(spec: TensorSpec, settings: Settings) -> JsonSchema:
    """One value of an output; the bytes of a string are written as text."""
    assert spec.dtype is not None
    return _TEXT if spec.dtype.kind is Kind.STRING else tensors.answer_value_schema(spec, settings.non_finite)


def _examples(version: LoadedVersion, signatures: Mapping[str, Signature]) -> dict[str, Any]:
    found = {}
    for name, signature in signatures.items():
        sample = sample_inputs(version, signature)
        if sample is not None:
            inputs = [_sent(signature.inputs[tensor], array) for tensor, array in sample.items()]
            named = {} if name == DEFAULT_SIGNATURE else {"parameters": {"signature_name": name}}
            found[name] = {**named, "inputs": inputs}
    return found


def _sent(spec: TensorSpec, array: Array) -> dict[str, Any]:
    assert spec.dtype is not None
    return {
        "name": spec.name,
        "datatype": PROTO_NAMES[spec.proto],
        "shape": list(array.shape),
        "data": as_json(array.ravel()),
    }
