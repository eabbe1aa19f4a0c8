"""The v1 protocol: TensorFlow Serving's REST API."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apispec import APISpec

from serving.models.about import class_labels
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest.loaded import LoadedVersion
from serving.rest.openapi import forms, tensors
from serving.rest.openapi.answers import Metadata, ModelList, ModelStatus
from serving.rest.openapi.operations import (
    LOOK_ERRORS,
    RUN_ERRORS,
    answer,
    any_of,
    body,
    choices,
    error_responses,
    escaped,
    identifier,
    parameter,
)
from serving.rest.openapi.tensors import JsonSchema
from serving.rest.samples import as_json, has_rows, sample_example, sample_inputs
from serving.settings import Settings
from serving.tensors.spec import TensorSpec

MAX_LABELS = 100
"""How many labels of classes are named in a description."""

_VERSION_HEADER = "The version that ran."
_SUMMARIES = {"predict": "Run a signature", "classify": "Classify examples", "regress": "Regress examples"}


def describe(spec: APISpec, versions: Sequence[LoadedVersion], settings: Settings) -> None:
    """Add the routes of the protocol."""
    _describe_looks(spec, versions)
    for version in versions:
        _describe_version(spec, version, settings)


def _describe_looks(spec: APISpec, versions: Sequence[LoadedVersion]) -> None:
    spec.tag({"name": "models", "description": "Which models and versions there are"})
    _add_look(spec, "/v1/models", "list_models", "The models and their versions", ModelList, [])
    if not versions:
        return
    model = parameter("model", [version.model for version in versions])
    _add_look(spec, "/v1/models/{model}", "model_status", "The state of each version", ModelStatus, [model])
    _add_look(spec, "/v1/models/{model}/metadata", "model_metadata", "The signatures", Metadata, [model])
    version = parameter("version", [str(version.version) for version in versions])
    path, both = "/v1/models/{model}/versions/{version}", [model, version]
    _add_look(spec, path, "version_status", "The state of a version", ModelStatus, both)
    _add_look(spec, f"{path}/metadata", "version_metadata", "The signatures of a version", Metadata, both)


def _add_look(spec: APISpec, path: str, name: str, summary: str, schema: Any, parameters: list[dict[str, Any]]) -> None:
    operation = {
        "tags": ["models"],
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": answer(schema, "As of now.", LOOK_ERRORS),
    }
    spec.path(path, operations={"get": operation})


def _describe_version(spec: APISpec, version: LoadedVersion, settings: Settings) -> None:
    spec_of: Mapping[str, Callable[[LoadedVersion, Signature, Settings], _Call]] = {
        "predict": _predict,
        "classify": _classify,
        "regress": _regress,
    }
    if version.is_latest:
        spec.tag({"name": version.model, "description": f"The model {version.model} in the v1 protocol"})
    for method, describe_call in spec_of.items():
        signatures = [its for its in version.callable_signatures().values() if method in version.methods(its)]
        calls = [describe_call(version, signature, settings) for signature in signatures]
        for choice, what in choices(version) if calls else ():
            operation = {
                "tags": [version.model],
                "operationId": identifier(version.model, choice, method),
                "summary": f"{_SUMMARIES[method]} of {what}",
                "requestBody": body(
                    any_of([request for call in calls for request in call.requests]),
                    {name: example for call in calls for name, example in call.examples.items()},
                ),
                "responses": answer(
                    any_of([given for call in calls for given in call.answers]),
                    "What the model answered.",
                    RUN_ERRORS,
                    X_Model_Version=_VERSION_HEADER,
                ),
            }
            if method == "predict":
                _add_forms(operation, version, signatures)
            spec.path(f"/v1/models/{escaped(version.model)}{choice}:{method}", operations={"post": operation})


def _add_forms(operation: dict[str, Any], version: LoadedVersion, signatures: Sequence[Signature]) -> None:
    """Add the media types beside JSON."""
    operation["parameters"] = forms.signature_parameter(signatures)
    operation["requestBody"]["content"] |= forms.request_content(version, signatures)
    operation["responses"]["200"]["content"] |= forms.answer_content(signatures)
    operation["responses"] |= error_responses((406,))


class _Call:
    """What may be sent to one signature and what comes back, in each of the formats."""

    def __init__(self) -> None:
        self.requests: list[JsonSchema] = []
        self.answers: list[JsonSchema] = []
        self.examples: dict[str, Any] = {}

    def add(self, signature: Signature, key: str, schema: JsonSchema, given: JsonSchema, example: Any) -> None:
        """Add the format whose tensors are under `key`; an example that is None there is not."""
        name = {"signature_name": {"const": signature.name}}
        required = [key] if signature.name == DEFAULT_SIGNATURE else ["signature_name", key]
        self.requests.append(
            {
                "type": "object",
                "title": f"{signature.name}, {key}",
                "properties": {**name, key: schema},
                "required": required,
            }
        )
        self.answers.append(given)
        if example is not None:
            sent = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
            self.examples[f"{signature.name}, {key}"] = {**sent, key: example}


def _predict(version: LoadedVersion, signature: Signature, settings: Settings) -> _Call:
    call = _Call()
    arrays = sample_inputs(version, signature)
    sample = None if arrays is None else {name: as_json(array) for name, array in arrays.items()}
    value = {name: tensors.value_schema(spec.dtype) for name, spec in signature.inputs.items() if spec.dtype}
    given = {name: tensors.answer_value_schema(spec, settings.non_finite) for name, spec in signature.outputs.items()}
    if has_rows(signature.inputs) and has_rows(signature.outputs):
        call.add(
            signature,
            "instances",
            {"type": "array", "minItems": 1, "items": _one_or_named(signature.inputs, value, _row_shape)},
            _given("predictions", {"type": "array", "items": _one_or_object(signature.outputs, given, _row_shape)}),
            sample and [_one_or_all({name: rows[0] for name, rows in sample.items()})],
        )
    call.add(
        signature,
        "inputs",
        _one_or_named(signature.inputs, value, _whole_shape),
        _given("outputs", _one_or_object(signature.outputs, given, _whole_shape)),
        None if sample is None else _one_or_all(sample),
    )
    return call


def _classify(version: LoadedVersion, signature: Signature, settings: Settings) -> _Call:
    scores = signature.outputs.get("scores")
    labels = class_labels(version.about, scores.shape[-1] if scores and scores.shape else None)
    pair = {
        "type": "array",
        "items": {"type": ["string", *_number(settings)]},
        "minItems": 2,
        "maxItems": 2,
        "description": "A label and its score"
        + (f"; the labels are {', '.join(labels[:MAX_LABELS])}" if labels else ""),
    }
    return _example_call(version, signature, {"type": "array", "items": pair})


def _regress(version: LoadedVersion, signature: Signature, settings: Settings) -> _Call:
    return _example_call(version, signature, {"type": _number(settings)})


def _number(settings: Settings) -> list[str]:
    """The types that a float of an answer may have."""
    return ["number", "null"] if settings.non_finite == "null" else ["number"]


def _example_call(version: LoadedVersion, signature: Signature, result: JsonSchema) -> _Call:
    call = _Call()
    example = {name: _feature(spec) for name, spec in signature.features.items() if spec.dtype}
    schema = {"type": "object", "properties": example}
    given = _given("results", {"type": "array", "items": result})
    call.add(
        signature, "examples", {"type": "array", "minItems": 1, "items": schema}, given, _sample(version, signature)
    )
    return call


def _sample(version: LoadedVersion, signature: Signature) -> list[dict[str, Any]] | None:
    example = sample_example(version, signature)
    return [example] if example or not signature.features else None


def _feature(spec: TensorSpec) -> JsonSchema:
    assert spec.dtype is not None
    value = tensors.value_schema(spec.dtype)
    shape = "any number of values" if spec.shape is None else f"shape {spec.shape_text()}, written as one list"
    return {"anyOf": [value, {"type": "array", "items": value}], "description": f"{spec.dtype.name}, {shape}"}


Shape = Callable[[TensorSpec], tuple[int | None, ...] | None]


def _row_shape(spec: TensorSpec) -> tuple[int | None, ...] | None:
    return None if spec.shape is None else spec.shape[1:]


def _whole_shape(spec: TensorSpec) -> tuple[int | None, ...] | None:
    return spec.shape


def _schemas(specs: Mapping[str, TensorSpec], values: Mapping[str, JsonSchema], shape: Shape) -> dict[str, JsonSchema]:
    return {name: tensors.described(tensors.nested(values[name], shape(spec)), spec) for name, spec in specs.items()}


def _one_or_named(specs: Mapping[str, TensorSpec], values: Mapping[str, JsonSchema], shape: Shape) -> JsonSchema:
    """Tensors as they are sent: an object by name; the only one also by itself."""
    schemas = _schemas(specs, values, shape)
    named = _object(schemas)
    return {"anyOf": [*schemas.values(), named]} if len(schemas) == 1 else named


def _one_or_object(specs: Mapping[str, TensorSpec], values: Mapping[str, JsonSchema], shape: Shape) -> JsonSchema:
    """Tensors as they are answered: the only one by itself, several as an object by name."""
    schemas = _schemas(specs, values, shape)
    return next(iter(schemas.values())) if len(schemas) == 1 else _object(schemas)


def _one_or_all(values: Mapping[str, Any]) -> Any:
    """The only tensor by itself, several as an object by name."""
    return next(iter(values.values())) if len(values) == 1 else values


def _object(properties: Mapping[str, JsonSchema]) -> JsonSchema:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _given(key: str, schema: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": {key: schema}, "required": [key]}
