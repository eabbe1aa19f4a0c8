"""A file that an operator may replace while the server runs; and one that only its owner may read."""

import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from serving.errors import SettingsError

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a file is looked at, and so how long what was taken out of it may still hold."""

T = TypeVar("T")


def read_file(path: Path) -> bytes:
    """What is in a file; SettingsError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None


def read_private_file(path: Path) -> bytes:
    """What is in a file that only its owner may read; SettingsError where it cannot be read, or by others too."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SettingsError(f"{path}: others than its owner can read or write it: run `chmod 600 {path}`")
            return file.read()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None


class Watched(Generic[T]):
    """What a file says, read anew when the file has changed. May be used by several threads at once.

    A file that can no longer be used is logged, and the last good one stays.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], T], fallback: T, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`read` raises SettingsError; `fallback` holds while there has been no good file."""
        self._path = path
        self._read = read
        self._value = fallback
        self._clock = clock
        self._seen: tuple[int, ...] | None = None
        self._next_look = clock() + LOOK_SECONDS
        self._lock = threading.Lock()
        self._look()

    def get(self) -> T:
        """What the file says, as of the last second."""
        if self._clock() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._next_look = self._clock() + LOOK_SECONDS
                self._look()
            finally:
                self._lock.release()
        return self._value

    def _look(self) -> None:
        seen = self._identity()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._value = self._read(self._path)
        except SettingsError as error:
            log.error("%s; the last that could be used holds", error.message)

    def _identity(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
