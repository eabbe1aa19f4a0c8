"""What JSON may take in memory while it is read and written, told from the text and from the tensors alone.

A list, an object, a number and a string take many times the bytes that they are written in: `[]` and `{"a":0}` 32
times, numbers 16, short strings 34. So the characters that begin or part them are counted. Those inside of strings
count too: the cost is never told too low.
"""

import itertools
import operator
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.precedence import precedence
from serving.tensors.spec import Array, is_base64


class MakeRoom(Protocol):
    """Called with a text before it becomes objects, and with what else is needed; raises where that is not there."""

    def __call__(self, text: memoryview | bytes, more: int = 0) -> None: ...


FEW_BYTES = 256 * 1024
"""What smaller texts take is not counted."""
_PIECE_BYTES = 1024 * 1024
"""How much is counted at a time. numpy gives up the interpreter meanwhile: not so briefly that nobody can take it."""
_BYTES = {"[": 88, "{": 168, ",": 56, '"': 52}
"""Measured with the texts that take the most, on every way to read them."""
_COPIES = 3
"""The text as bytes, as a string, and written again to look for surrogates."""
_COPIES_WIDE = 8
"""The same where a character takes four bytes in a string."""
_NUMBER_BYTES, _MARK_BYTES = 24, 5
"""What a number takes that is skimmed, in its widest dtype, cast and joined; and a comma or a bracket."""
_STRING_BYTES, _BASE64_BYTES, _STRING_COPIES = 120, 320, 16
"""What a string of an answer takes as objects, plain and as base64, and each of its bytes where it is escaped."""
_WRITTEN_BYTES = {1: 14, 2: 40, 4: 44, 8: 60}
"""What a number takes as text, twice since texts are joined, by the bytes that it has in a tensor."""
_LIST_BYTES = 144
"""What a list takes while it is written; and below, what a row that is written as an object, and each value of it."""
_ROW_BYTES, _CELL_BYTES = 128, 128


def unbounded(text: memoryview | bytes, more: int = 0) -> None:
    """Room for the objects of any text."""


def objects_bytes(text: memoryview) -> int:
    """The most that the objects of a JSON text take, with copies of the text itself."""
    counts, is_ascii = dict.fromkeys(_BYTES, 0), True
    for piece in _pieces(text):
        is_ascii = is_ascii and bool(piece.max() < 128)
        for character in counts:
            counts[character] += _count(piece, character)
    copies = _COPIES if is_ascii else _COPIES_WIDE
    return copies * len(text) + sum(_BYTES[character] * count for character, count in counts.items())


def numbers_bytes(text: memoryview) -> int:
    """The most that nested lists of numbers take which become a tensor without objects (skim.py)."""
    if len(text) <= FEW_BYTES:
        return 0
    commas = brackets = 0
    for piece in _pieces(text):
        commas += _count(piece, ",")
        brackets += _count(piece, "[")
    return _NUMBER_BYTES * (commas + 1) + _MARK_BYTES * (commas + 2 * brackets)


def answer_bytes(outputs: Mapping[str, Array]) -> int:
    """The most that these tensors take together with the JSON that they are written as."""
    rows = max((len(array) for array in outputs.values() if array.ndim), default=0) if len(outputs) > 1 else 0
    objects = rows * (_ROW_BYTES + len(outputs) * _CELL_BYTES)
    return objects + sum(_written_bytes(name, array) for name, array in outputs.items())


def _written_bytes(name: str, array: Array) -> int:
    lists: int = sum(itertools.accumulate(array.shape[:-1], operator.mul)) * _LIST_BYTES
    if array.dtype == object:
        texts = sum(map(len, array.ravel())) * _STRING_COPIES
        return array.size * (_BASE64_BYTES if is_base64(name) else _STRING_BYTES) + texts + lists
    return array.size * (array.itemsize + _WRITTEN_BYTES.get(array.itemsize, 0)) + lists


def _pieces(text: memoryview) -> Iterator[NDArray[np.uint8]]:
    """The text in pieces, between which the event loop may go first."""
    for start in range(0, len(text), _PIECE_BYTES):
        if start:
            precedence.give_way()
        yield np.frombuffer(text[start : start + _PIECE_BYTES], np.uint8)


def _count(piece: NDArray[np.uint8], character: str) -> int:
    return int(np.count_nonzero(piece == ord(character)))
