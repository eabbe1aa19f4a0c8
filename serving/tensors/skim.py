"""The fast way in for large tensors of numbers: JSON to numpy without a Python object for each number.

    {"signature_name": "serving_default", "instances": [[1.0, 2.0], [3.0, 4.0]]}

A body is skimmed when it holds one tensor of numbers and nothing unusual. Whatever else there is (other keys, strings,
objects, ragged lists, NaN, numbers that do not fit, errors) gives None, and the body is parsed the careful way.

simdjson flattens nested lists, so their form is checked apart: without the characters of numbers and white space, a
body with lists of equal lengths is a text that follows from the shape.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
import simdjson

from serving.tensors.decode import MAX_RANK
from serving.tensors.spec import Array, DType, Kind

FROM_BYTES = 2048
"""Smaller bodies are parsed as fast in the ordinary way."""

_NUMBER_CHARACTERS = b"0123456789+-.eE \t\r\n"
_BUFFERS: dict[str, tuple[Literal["d", "i", "u"], type[Any]]] = {
    "f": ("d", np.float64),
    "i": ("i", np.int64),
    "u": ("u", np.uint64),
}
_KEYS = ("instances", "inputs")


@dataclass(frozen=True)
class Skimmed:
    """A body that holds one tensor: the key that it stands under, and the signature's name where one is given."""

    key: str
    envelope: dict[str, str]
    _numbers: Any
    _shape: tuple[int, ...]

    def tensor(self, dtype: DType) -> Array | None:
        """The tensor as this dtype; None when its values must be looked at one by one."""
        if dtype.kind is Kind.DECIMAL:
            wanted, buffer = _BUFFERS["f"]
        elif dtype.kind is Kind.INTEGER:
            wanted, buffer = _BUFFERS[dtype.numpy.kind]
        else:
            return None
        try:
            values = np.frombuffer(self._numbers.as_buffer(of_type=wanted), dtype=buffer)
        except (TypeError, ValueError):
            return None
        if values.size != math.prod(self._shape) or not _fits(values, dtype):
            return None
        with np.errstate(over="ignore"):
            return values.astype(dtype.numpy).reshape(self._shape)


def skim(body: bytes) -> Skimmed | None:
    """Look at a body of the form above; None when it has another."""
    if len(body) < FROM_BYTES:
        return None
    try:
        document = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError):
        return None
    if not isinstance(document, simdjson.Object):
        return None
    try:
        members = [(name, document[name]) for name in document.keys()]  # noqa: SIM118, its items would all be converted
    except KeyError:  # a name is looked up as it is written, so not where it is escaped
        return None
    texts = {name: value for name, value in members if isinstance(value, str)}
    arrays = [(name, value) for name, value in members if isinstance(value, simdjson.Array)]
    if len(arrays) != 1 or arrays[0][0] not in _KEYS or texts.keys() - {"signature_name"}:
        return None
    ((key, numbers),) = arrays
    shape = _leading_shape(numbers)
    if 0 in shape or len(shape) > MAX_RANK:
        return None
    form = b",".join(
        _stripped(orjson.dumps(name)) + b":" + (_stripped(orjson.dumps(value)) if name in texts else _form(shape))
        for name, value in members
    )
    if len(members) != 1 + len(texts) or _stripped(body) != b"{" + form + b"}":
        return None
    return Skimmed(key, texts, numbers, shape)


def _leading_shape(value: Any) -> tuple[int, ...]:
    shape: list[int] = []
    while isinstance(value, simdjson.Array) and 0 not in shape:
        shape.append(len(value))
        value = value[0] if shape[-1] else None
    return tuple(shape)


def _form(shape: tuple[int, ...]) -> bytes:
    """Lists of this shape, without their numbers."""
    form = b""
    for size in reversed(shape):
        form = b"[" + b",".join([form] * size) + b"]"
    return form


def _stripped(text: bytes) -> bytes:
    return text.translate(None, _NUMBER_CHARACTERS)


def _fits(values: Array, dtype: DType) -> bool:
    if dtype.kind is Kind.DECIMAL or not values.size or dtype.numpy.itemsize == values.dtype.itemsize:
        return True
    limits = np.iinfo(dtype.numpy)
    return bool(limits.min <= values.min() and values.max() <= limits.max)
