"""The body of a request while it arrives: a file for WSGI, and memory for those who read tensors out of it.

A large body of known length gets all its memory at once: nothing is moved as it grows, memory counts only as far as it
has been written, and goes back when the last tensor in it is gone. It is numpy's, which takes what earlier bodies left:
memory that is new to the process costs more than all else that is done to a body. In a body with binary tensors the
first of them, the largest more often than not, begins where TensorFlow can take it over without a copy.
"""

import io
from typing import Any

import numpy as np

ALIGNMENT = 64
LARGE_BYTES = 32 * 1024
"""From here memory of its own costs less than growing, copying and aligning do."""


class LargeBody(io.RawIOBase):
    """A body of at most `size` bytes, of which the byte at `aligned_at` lies at a multiple of ALIGNMENT."""

    def __init__(self, size: int, aligned_at: int) -> None:
        room = np.empty(ALIGNMENT + size, np.uint8)
        start = -(room.ctypes.data + aligned_at) % ALIGNMENT
        self._memory = room.data[start : start + size]
        self._written = 0
        self._position = 0

    def write(self, data: Any) -> int:
        """Add to the end; it is the framing of the request that keeps it within the size."""
        end = self._written + len(data)
        self._memory[self._written : end] = data
        self._written = end
        return len(data)

    def getbuffer(self) -> memoryview:
        """All that was written, as memory."""
        return self._memory[: self._written]

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = min(max(0, offset + (0, self._position, self._written)[whence]), self._written)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._written if size is None or size < 0 else min(self._position + size, self._written)
        start, self._position = self._position, end
        return bytes(self._memory[start:end])

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def make_body(size: int, json_bytes: bytes | None) -> io.BytesIO | LargeBody:
    """Room for a body of `size` bytes, 0 where that is not known; `json_bytes` says where binary tensors begin."""
    if size < LARGE_BYTES:
        return io.BytesIO()
    return LargeBody(size, int(json_bytes) if json_bytes and len(json_bytes) < 10 and json_bytes.isdigit() else 0)
