"""The fast way in for a large tensor of numbers: JSON to numpy without a Python object for each number.

simdjson flattens nested lists, so their form is checked apart: without the characters of numbers and white space, lists
of equal lengths are a text that follows from the shape. Whatever is unusual (strings, ragged lists, NaN, numbers that
do not fit, errors) gives None, and is to be read the careful way.
"""

import math
from collections import deque
from typing import Any, Literal

import numpy as np
import simdjson

from serving.tensors.decode import MAX_RANK
from serving.tensors.spec import Array, DType, Kind

FROM_BYTES = 2048
"""Smaller tensors are read as fast in other ways."""
KEPT_BYTES = 8 * 1024 * 1024
"""The parser of a longer text is not kept. One keeps some three times the longest text that it has read."""

_NUMBER_CHARACTERS = b"0123456789+-.eE \t\r\n"
_BUFFERS: dict[str, tuple[Literal["d", "i", "u"], type[Any]]] = {
    "f": ("d", np.float64),
    "i": ("i", np.int64),
    "u": ("u", np.uint64),
}
_idle: deque[simdjson.Parser] = deque()
"""Parsers that nobody uses: a new one spends half of its time on memory that is new to the process."""


def can_skim(dtype: DType | None) -> bool:
    """Whether tensors of this dtype can be read so at all."""
    return dtype is not None and dtype.kind in (Kind.DECIMAL, Kind.INTEGER)


def skim(text: memoryview, dtype: DType) -> Array | None:
    """The tensor that a JSON text of nested lists of numbers holds. May be called by several threads at once."""
    try:
        parser = _idle.pop()
    except IndexError:
        parser = simdjson.Parser()
    try:
        return _read(parser.parse(text), text, dtype)
    except (ValueError, RuntimeError, TypeError):
        return None
    finally:
        if len(text) <= KEPT_BYTES:
            _idle.append(parser)


def _read(numbers: Any, text: memoryview, dtype: DType) -> Array | None:
    shape = _leading_shape(numbers)
    if (
        not shape
        or 0 in shape
        or len(shape) > MAX_RANK
        or _form(shape) != bytes(text).translate(None, _NUMBER_CHARACTERS)
    ):
        return None
    wanted, buffer = _BUFFERS["f" if dtype.kind is Kind.DECIMAL else dtype.numpy.kind]
    values = np.frombuffer(numbers.as_buffer(of_type=wanted), dtype=buffer)
    if values.size != math.prod(shape) or not _fits(values, dtype):
        return None
    with np.errstate(over="ignore"):
        return values.astype(dtype.numpy).reshape(shape)


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


def _fits(values: Array, dtype: DType) -> bool:
    if dtype.kind is Kind.DECIMAL or not values.size or dtype.numpy.itemsize == values.dtype.itemsize:
        return True
    limits = np.iinfo(dtype.numpy)
    return bool(limits.min <= values.min() and values.max() <= limits.max)
