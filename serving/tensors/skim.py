"""The fast way in for a large tensor of numbers: JSON to numpy without a Python object for each number.

The text is read a piece at a time: a piece fits the processor's caches, and other threads go on in between. simdjson
flattens nested lists, so their form is checked apart: without the characters of numbers and white space, lists of equal
lengths are a text that follows from the shape. Whatever is unusual (strings, ragged lists, NaN, numbers that do not
fit, errors) gives None, and is to be read the careful way.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import simdjson

from serving.precedence import precedence
from serving.tensors.decode import MAX_RANK
from serving.tensors.spec import Array, DType, Kind

FROM_BYTES = 2048
"""Smaller tensors are read as fast in other ways."""
PIECE_BYTES = 64 * 1024
"""How much is read at a time: the parser has the interpreter to itself for a quarter of a millisecond."""
CAST_PIECES = 16
"""How many pieces get their dtype at once.

numpy gives up the interpreter for that. Who does so in every piece takes it back before others wake, and makes their
wait for it begin anew. More at once would take more memory.
"""
NEAR_BYTES = 1024
"""How far from the end of a piece there must be a comma."""

_NUMBER_CHARACTERS = b"0123456789+-.eE \t\r\n"
_BUFFERS: dict[str, tuple[Literal["d", "i", "u"], type[Any]]] = {
    "f": ("d", np.float64),
    "i": ("i", np.int64),
    "u": ("u", np.uint64),
}
_idle: deque[simdjson.Parser] = deque()
"""Parsers that nobody uses: a new one spends its time on memory that is new to the process."""


def can_skim(dtype: DType | None) -> bool:
    """Whether tensors of this dtype can be read so at all."""
    return dtype is not None and dtype.kind in (Kind.DECIMAL, Kind.INTEGER)


def skim(text: memoryview, dtype: DType) -> Array | None:
    """The tensor that a JSON text of nested lists of numbers holds. May be called by several threads at once."""
    try:
        parser = _idle.pop()
    except IndexError:
        parser = simdjson.Parser()
    forms, parts, numbers, depth = list[bytes](), list[Array](), list[Array](), 0
    try:
        for piece in _pieces(text):
            forms.append(bytes(piece).translate(None, _NUMBER_CHARACTERS))
            opened, depth = depth, depth + forms[-1].count(b"[") - forms[-1].count(b"]")
            whole = b"".join((b"[" * opened, piece, b"]" * depth))
            numbers.append(_numbers(parser, whole, dtype))
            if len(numbers) == CAST_PIECES:
                parts, numbers = [*parts, _cast(_joined(numbers), dtype)], []
        flat = _joined([*parts, _cast(_joined(numbers), dtype)] if numbers else parts)
    except (ValueError, RuntimeError, TypeError):
        return None
    finally:
        _idle.append(parser)
    shape = _shape(b",".join(forms), flat.size)
    return None if shape is None else flat.reshape(shape)


def _pieces(text: memoryview) -> Iterator[memoryview]:
    """The text, cut at commas, between which the event loop may go first; ValueError where there is none for long."""
    start, stop = 0, PIECE_BYTES
    while stop < len(text):
        near = max(start, stop - NEAR_BYTES)
        stop = near + bytes(text[near:stop]).rindex(b",")
        yield text[start:stop]
        precedence.give_way()
        start, stop = stop + 1, stop + 1 + PIECE_BYTES
    yield text[start:]


def _shape(form: bytes, size: int) -> tuple[int, ...] | None:
    """The shape of nested lists of `size` numbers, of which all but the numbers is given; None for ragged ones.

    That of `[[,],[,],[,]]` is 3, 2. From the inmost first list outwards: its elements, all as long as its first one,
    are parted by so many commas, behind which it ends.
    """
    rank = len(form) - len(form.lstrip(b"["))
    if not size or not 1 <= rank <= MAX_RANK:
        return None
    shape, length = list[int](), 0
    for depth in reversed(range(1, rank + 1)):
        shape.insert(0, 1 + form[depth + length :: length + 1].find(b"]"))
        length = (length + 1) * shape[0] + 1
    return tuple(shape) if math.prod(shape) == size and length == len(form) and form == _form(shape) else None


def _numbers(parser: simdjson.Parser, text: bytes, dtype: DType) -> Array:
    """The numbers of a JSON text, whatever lists they are in, in the widest dtype of their kind."""
    wanted, buffer = _BUFFERS["f" if dtype.kind is Kind.DECIMAL else dtype.numpy.kind]
    parsed = parser.parse(text)
    if not isinstance(parsed, simdjson.Array):
        raise TypeError("it is no list")
    return np.frombuffer(parsed.as_buffer(of_type=wanted), dtype=buffer)


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _cast(values: Array, dtype: DType) -> Array:
    """The numbers in their dtype; ValueError when one does not fit it."""
    if not _fits(values, dtype):
        raise ValueError("a number is out of range")
    with np.errstate(over="ignore"):
        return values.astype(dtype.numpy)


def _form(shape: Sequence[int]) -> bytes:
    """Lists of this shape, without their numbers."""
    form = b""
    for size in reversed(shape):
        form = b"[" + (form + b",") * (size - 1) + form + b"]"
    return form


def _fits(values: Array, dtype: DType) -> bool:
    if dtype.kind is Kind.DECIMAL or not values.size or dtype.numpy.itemsize == values.dtype.itemsize:
        return True
    limits = np.iinfo(dtype.numpy)
    return bool(limits.min <= values.min() and values.max() <= limits.max)
