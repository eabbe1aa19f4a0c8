"""Tensors to JSON, as TensorFlow Serving's REST API writes them.

Decimals are the shortest text that reads back as the same value of their dtype; 64-bit integers are exact. Strings are
written raw, also where they are not UTF-8, and as `{"b64": "..."}` when the output's name ends in `_bytes`.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import ml_dtypes
import numpy as np
import orjson

from serving.errors import FailedPrecondition, InvalidArgument
from serving.tensors.spec import DTYPES, Array, is_base64

NonFinite = Literal["literal", "null", "error"]
"""How NaN and infinities are written: as bare tokens, as null, or not at all."""

PIECE_BYTES = 64 * 1024
_NULL = re.compile(b"null")
_DTYPES = {dtype.numpy for dtype in DTYPES.values()}
_DECIMALS = "efd"
"""numpy's letters for the dtypes with fractions that orjson writes."""
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def encode_rows(outputs: Mapping[str, Array], non_finite: NonFinite) -> bytes:
    """`{"predictions": [...]}`, one element a row; with several outputs each element is an object.

    Every output must have at least one dimension, and all the same dimension 0.
    """
    check_rows(outputs)
    if len(outputs) == 1:
        return _document("predictions", outputs, non_finite)
    columns = [_writable_rows(name, array, non_finite) for name, array in outputs.items()]
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]
    return orjson.dumps({"predictions": rows}, option=_OPTIONS)


def encode_columns(outputs: Mapping[str, Array], non_finite: NonFinite) -> bytes:
    """`{"outputs": ...}`: the tensor of the only output, or an object of whole tensors by name."""
    if not outputs:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")
    if len(outputs) == 1:
        return _document("outputs", outputs, non_finite)
    tensors = {name: _writable(name, array, non_finite) for name, array in outputs.items()}
    return orjson.dumps({"outputs": tensors}, option=_OPTIONS)


def encode_classes(classes: Array | None, scores: Array | None, non_finite: NonFinite) -> bytes:
    """`{"results": [[["label", score], ...], ...]}` from [b, k] strings and [b, k] floats, either of which may lack."""
    one = classes if classes is not None else scores
    assert one is not None
    labels = _strings(classes) if classes is not None else [[""] * one.shape[1]] * one.shape[0]
    values = scores if scores is not None else np.zeros(one.shape, np.float32)
    rows = [
        [list(pair) for pair in zip(row, _writable_rows("scores", row_scores, non_finite), strict=True)]
        for row, row_scores in zip(labels, values, strict=True)
    ]
    return orjson.dumps({"results": rows}, option=_OPTIONS)


def encode_regressions(values: Array, non_finite: NonFinite) -> bytes:
    """`{"results": [v, ...]}` from [b] floats."""
    return orjson.dumps({"results": _writable("outputs", values, non_finite)}, option=_OPTIONS)


def encode_flat(name: str, array: Array, non_finite: NonFinite) -> Any:
    """A list of the numbers of a tensor in row-major order, for orjson to write with OPT_SERIALIZE_NUMPY."""
    return _writable(name, array.reshape(-1), non_finite)


def _document(key: str, only: Mapping[str, Array], non_finite: NonFinite) -> bytes:
    """An object of the only tensor. What is not finite orjson writes as null, which is found sooner in the text."""
    ((name, array),) = only.items()
    if array.dtype.char in _DECIMALS and array.ndim:
        text = orjson.dumps({key: np.ascontiguousarray(array)}, option=_OPTIONS)
        if b"null" not in text:
            return text
        del text  # or there would be one more than is told to be needed
    return orjson.dumps({key: _writable(name, array, non_finite)}, option=_OPTIONS)


def check_rows(outputs: Mapping[str, Array]) -> None:
    """Raise InvalidArgument unless all outputs have the same number of rows."""
    if not outputs:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")
    expected = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidArgument(f"Tensor name: {name} has no shape information ")
        if expected not in (None, len(array)):
            raise InvalidArgument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {expected}"
            )
        expected = len(array)


def _writable_rows(name: str, array: Array, non_finite: NonFinite) -> Iterable[Any]:
    """One value a row that orjson can write."""
    whole = _writable(name, array, non_finite)
    return whole if not isinstance(whole, orjson.Fragment) else [_writable(name, row, non_finite) for row in array]


def _writable(name: str, array: Array, non_finite: NonFinite) -> Any:
    """A value that orjson writes as the tensor."""
    array = np.asarray(array)
    if array.dtype == object:
        return _bytes(array) if is_base64(name) else _strings(array)
    if array.dtype == ml_dtypes.bfloat16:
        array = array.astype(np.float32)
    if array.dtype not in _DTYPES:
        raise InvalidArgument(f"Failed to write JSON value for tensor type: {array.dtype.name}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _with_non_finite(name, array, non_finite)
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _with_non_finite(name: str, array: Array, non_finite: NonFinite) -> Any:
    if non_finite == "error":
        raise FailedPrecondition(
            f'Output "{name}" has a value that is not finite, which SERVING_NON_FINITE=error forbids'
        )
    text = orjson.dumps(np.ascontiguousarray(array) if array.ndim else array[()], option=_OPTIONS)
    if non_finite == "null":
        return orjson.Fragment(text)
    values = array[~np.isfinite(array)]
    if np.isnan(values).all():
        return orjson.Fragment(text.replace(b"null", b"NaN"))
    return orjson.Fragment(b"".join(_named(text, map(_token, values))))


def _named(text: bytes, tokens: Iterator[bytes]) -> Iterator[bytes]:
    """The text with the tokens in place of its nulls, in pieces: each null becomes several objects for a moment."""
    start = 0
    while start < len(text):
        stop = text.find(b",", start + PIECE_BYTES) + 1 or len(text)
        yield _NULL.sub(lambda _: next(tokens), text[start:stop])
        start = stop


def _token(value: np.floating[Any]) -> bytes:
    return b"NaN" if np.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"


def _bytes(array: Array) -> Any:
    return _nested(array, [{"b64": base64.b64encode(value).decode()} for value in array.ravel()])


def _strings(array: Array) -> Any:
    try:
        return _nested(array, [value.decode() for value in array.ravel()])
    except UnicodeDecodeError:
        return _nested(array, [_raw_string(value) for value in array.ravel()])


def _raw_string(value: bytes) -> orjson.Fragment:
    text = json.dumps(value.decode(errors="surrogateescape"), ensure_ascii=False)
    return orjson.Fragment(text.encode(errors="surrogateescape"))


def _nested(like: Array, items: list[Any]) -> Any:
    """The items as lists nested as deep as the rank of `like`."""
    flat = np.empty(len(items), dtype=object)
    flat[:] = items
    return flat.reshape(like.shape).tolist()
