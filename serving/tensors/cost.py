"""What a JSON text may take in memory while it is read into Python objects, told from the text alone.

A list, an object, a number and a string take many times the bytes that they are written in: `[]` and `{"a":0}` 32
times, numbers 16, short strings 34. So the characters that begin or part them are counted. Those inside of strings
count too: the cost is never told too low.
"""

from collections.abc import Callable

import numpy as np

MakeRoom = Callable[[memoryview | bytes], None]
"""Called with a text before it becomes objects; it raises where there is no memory for them."""

_PIECE_BYTES = 64 * 1024
_BYTES = {"[": 88, "{": 168, ",": 56, '"': 52}
"""Measured with the texts that take the most, on every way to read them."""
_COPIES = 3
"""The text as bytes, as a string, and written again to look for surrogates."""
_COPIES_WIDE = 8
"""The same where a character takes four bytes in a string."""


def unbounded(text: memoryview | bytes) -> None:
    """Room for the objects of any text."""


def objects_bytes(text: memoryview) -> int:
    """The most that the objects of a JSON text take, with copies of the text itself."""
    counts = dict.fromkeys(_BYTES, 0)
    is_ascii = True
    for start in range(0, len(text), _PIECE_BYTES):  # pieces that fit the processor's caches
        piece = np.frombuffer(text[start : start + _PIECE_BYTES], np.uint8)
        is_ascii = is_ascii and bool(piece.max() < 128)
        for character in counts:
            counts[character] += int(np.count_nonzero(piece == ord(character)))
    copies = _COPIES if is_ascii else _COPIES_WIDE
    return copies * len(text) + sum(_BYTES[character] * count for character, count in counts.items())
