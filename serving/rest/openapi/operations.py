"""The pieces of which operations are made, the same for every protocol."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from apispec import APISpec

from serving.rest.loaded import LoadedVersion
from serving.rest.openapi import answers
from serving.rest.openapi.tensors import JsonSchema

ERRORS = {
    400: "The request is wrong: the text says where.",
    403: "It is not allowed.",
    404: "There is no such model, version or path.",
    405: "The path takes another method.",
    406: "No form of answer that Accept takes holds this one.",
    413: "The body is too large.",
    415: "The body is in a form or an encoding that is not read here.",
    500: "The server or the model failed.",
    503: "Try again later: the model is being loaded, or there is no room for the request.",
    504: "The model took too long.",
}
RUN_ERRORS = (400, 404, 405, 413, 415, 500, 503, 504)
LOOK_ERRORS = (400, 404, 405, 503)

Responses = dict[str, Any]


def add_errors(spec: APISpec) -> None:
    """Add the answer to each kind of error."""
    for status, text in ERRORS.items():
        spec.components.response(f"Error{status}", {"description": text, "content": _content(answers.Error)})


def answer(schema: Any, text: str, errors: Iterable[int], **headers: str) -> Responses:
    """The responses of an operation: what it gives, and which errors."""
    described = {name.replace("_", "-"): _header(text) for name, text in headers.items()}
    success = {"description": text, "content": _content(schema), **({"headers": described} if described else {})}
    return {"200": success} | error_responses(errors)


def error_responses(errors: Iterable[int]) -> Responses:
    """The answers to errors of these statuses."""
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in errors}


def body(schema: JsonSchema, examples: Mapping[str, Any], required: bool = True) -> dict[str, Any]:
    """A JSON body, with examples by name."""
    content: dict[str, Any] = {"schema": schema}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"required": required, "content": {"application/json": content}}


def parameter(name: str, values: Iterable[str]) -> dict[str, Any]:
    """A parameter of the path, one of the values that exist now."""
    known = list(dict.fromkeys(values))
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string", "enum": known}}


def any_of(schemas: list[JsonSchema]) -> JsonSchema:
    """What fits one of the schemas or more."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def identifier(*parts: object) -> str:
    """A name that components and operations may have; parts that differ may give the same."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", ".".join(map(str, parts)).replace(".", "-")).strip("_-")


def escaped(segment: str) -> str:
    """A segment of a path."""
    return quote(segment, safe="")


def choices(version: LoadedVersion) -> list[tuple[str, str]]:
    """How a path may name a version of its model, and what to call that: the latest, by number, by label."""
    latest = [("", "the latest version")] if version.is_latest else []
    labels = [(f"/labels/{escaped(label)}", f"the version labelled {label}") for label in version.labels]
    return [*latest, (f"/versions/{version.version}", f"version {version.version}"), *labels]


def _content(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}
