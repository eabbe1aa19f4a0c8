"""A request for each signature that shows how one is written, and works where the model lets it.

From the model's warm-up data where there is some, else made up: decimals around 0, ones, `true`, `"word"`.
"""

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from serving.models.examples import parse_example, serialize_examples
from serving.models.signature import Signature
from serving.rest.loaded import LoadedVersion
from serving.tensors.examples import decode_examples
from serving.tensors.spec import Array, Kind, TensorSpec

MAX_VALUES = 16384
"""A request of more values than this helps no reader."""


def sample_inputs(version: LoadedVersion, signature: Signature) -> dict[str, Array] | None:
    """One row for each input, or whole tensors where there are no rows; None where that would be too much to read."""
    if not all(_is_small(spec) for spec in signature.inputs.values()):
        return None
    inputs = _warm_up_row(version, signature)
    if inputs is None and signature.features:
        example = _made_up_example(version, signature)
        serialized = serialize_examples(decode_examples([example], None), signature.float_features)
        return dict.fromkeys(signature.inputs, serialized)
    return inputs if inputs is not None else {name: _made_up(spec) for name, spec in signature.inputs.items()}


def sample_example(version: LoadedVersion, signature: Signature) -> dict[str, Any]:
    """An example of features as JSON, for a signature that takes examples."""
    row = _warm_up_row(version, signature)
    if row is None:
        return _made_up_example(version, signature)
    values = parse_example(next(iter(row.values())).item(0))
    return {
        name: [_text(value) if isinstance(value, bytes) else value for value in its] for name, its in values.items()
    }


def has_rows(specs: Mapping[str, TensorSpec]) -> bool:
    """Whether all tensors have a variable dimension 0, so that a request may be written row by row."""
    return bool(specs) and all(spec.shape is None or spec.shape[:1] == (None,) for spec in specs.values())


def as_json(array: Array) -> Any:
    """A tensor as nested lists of what JSON has; strings that are no text as `{"b64": "..."}`."""
    if array.dtype == object:
        flat = np.empty(array.size, dtype=object)
        flat[:] = [_text(value) for value in array.ravel()]
        return flat.reshape(array.shape).tolist()
    plain = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    value = np.ascontiguousarray(plain) if plain.ndim else plain[()]
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))  # shortest decimals of the dtype


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _warm_up_row(version: LoadedVersion, signature: Signature) -> dict[str, Array] | None:
    request = version.about.samples.get(signature.name)
    if not request or not all(array.size for array in request.values()):
        return None
    return {name: array[:1] for name, array in request.items()} if has_rows(signature.inputs) else dict(request)


def _made_up(spec: TensorSpec) -> Array:
    """A tensor of one row; dimensions that vary are 1."""
    assert spec.dtype is not None
    shape = tuple(size or 1 for size in ((None,) if spec.shape is None else spec.shape))
    if spec.dtype.kind is Kind.STRING:
        return np.full(shape, b"word", dtype=object)
    if spec.dtype.kind is Kind.DECIMAL:
        drawn = np.random.default_rng(zlib.crc32(spec.name.encode())).standard_normal(shape)
        return (np.asarray(drawn).round(2) + 0.0).astype(spec.dtype.numpy)  # no -0.0
    return np.ones(shape, spec.dtype.numpy)


def _made_up_example(version: LoadedVersion, signature: Signature) -> dict[str, Any]:
    return {
        name: _feature_values(version, name, spec)
        for name, spec in signature.features.items()
        if spec.dtype is not None and _is_small(spec)
    }


def _feature_values(version: LoadedVersion, name: str, spec: TensorSpec) -> list[Any]:
    """The values of one feature: those of an input of the same name and shape in the warm-up data, else made up."""
    for request in version.about.samples.values():
        array = request.get(name)
        if array is not None and array.shape[1:] == spec.shape and len(array):
            return list(as_json(array[0].ravel()))
    return list(as_json(_made_up(spec).ravel()))


def _is_small(spec: TensorSpec) -> bool:
    return int(np.prod([size or 1 for size in spec.shape or ()], dtype=object)) <= MAX_VALUES
