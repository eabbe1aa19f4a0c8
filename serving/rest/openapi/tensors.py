"""Tensors as JSON Schema: nested lists as deep as their rank, of values that their dtype can hold."""

from typing import Any

import numpy as np

from serving.tensors.spec import DType, Kind, TensorSpec

JsonSchema = dict[str, Any]

BASE64: JsonSchema = {
    "type": "object",
    "description": "Bytes that need not be text.",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
    "additionalProperties": False,
}
_FORMATS = {"float": "float", "double": "double", "int32": "int32", "int64": "int64"}


def value_schema(dtype: DType) -> JsonSchema:
    """One value of a dtype, as requests may write it."""
    if dtype.kind is Kind.STRING:
        return {"anyOf": [{"type": "string"}, BASE64]}
    if dtype.kind is Kind.BOOLEAN:
        return {"type": "boolean"}
    form = {"format": _FORMATS[dtype.name]} if dtype.name in _FORMATS else {}
    if dtype.kind is Kind.DECIMAL:
        return {"type": "number", **form}
    limits = np.iinfo(dtype.numpy)
    return {"type": "integer", **form, "minimum": int(limits.min), "maximum": int(limits.max)}


def answer_value_schema(spec: TensorSpec, non_finite: str) -> JsonSchema:
    """One value of an output, as answers write it."""
    assert spec.dtype is not None
    if spec.dtype.kind is Kind.STRING:
        return BASE64 if spec.name.endswith("_bytes") else {"type": "string"}
    schema = value_schema(spec.dtype)
    if spec.dtype.kind is Kind.DECIMAL and non_finite == "null":
        return {**schema, "type": ["number", "null"]}
    return schema


def nested(value: JsonSchema, shape: tuple[int | None, ...] | None) -> JsonSchema:
    """Lists of values, nested as the shape says; any nesting where it is unknown."""
    if shape is None:
        return {"anyOf": [value, {"type": "array", "description": "Lists of such values, nested to any depth."}]}
    for size in reversed(shape):
        value = {"type": "array", "items": value, **({} if size is None else {"minItems": size, "maxItems": size})}
    return value


def described(schema: JsonSchema, spec: TensorSpec) -> JsonSchema:
    """The schema, saying in words which tensor it is."""
    assert spec.dtype is not None
    return {**schema, "description": f"`{spec.name}`, {spec.dtype.name} {spec.shape_text()}"}
