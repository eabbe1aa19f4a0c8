"""How often and how many at once: limits for each grant, counted over all workers.

The counts stand in memory that the workers share, a small file for each grant: when the next request is due (the one
number that a token bucket comes down to), and how many requests each worker has in hand. No lock is held between
processes, so that a worker which hangs stops nobody; two workers that ask in the same microsecond may both get the last
token. A worker writes only its own count, so what is in hand is never exceeded.
"""

import hashlib
import logging
import math
import mmap
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MAX_WORKERS = 1024
_DUE_BYTES = 8
_FILE_BYTES = _DUE_BYTES + 4 * MAX_WORKERS


@dataclass(frozen=True)
class Limit:
    """At most so many requests a second, `burst` of them at once, and so many in hand; None is any number."""

    requests_per_second: float | None = None
    burst: int | None = None
    """None is as many as a second may bring, at least one."""
    concurrent: int | None = None


UNLIMITED = Limit()


def next_due(due: float, now: float, limit: Limit) -> tuple[float, float]:
    """A token bucket as one number: when the next request is due, and how many seconds this one has to wait for it.

    Where it has to wait it does not count, and `due` stays.
    """
    if limit.requests_per_second is None:
        return due, 0.0
    interval = 1 / limit.requests_per_second
    burst = limit.burst or max(1, math.floor(limit.requests_per_second))
    due = max(due, now)
    wait = due - now - (burst - 1) * interval
    return (due, wait) if wait > 1e-9 else (due + interval, 0.0)


class Count:
    """What is counted for one grant, in memory that other processes may share."""

    def __init__(self, memory: mmap.mmap, worker: int, workers: int) -> None:
        """This process is number `worker` of at most `workers`; what an earlier one of that number had is over."""
        self._due = memoryview(memory)[:_DUE_BYTES].cast("d")
        self._in_hand = memoryview(memory)[_DUE_BYTES:].cast("i")
        self._worker = worker % MAX_WORKERS
        self._workers = min(max(workers, self._worker + 1), MAX_WORKERS)
        self._in_hand[self._worker] = 0

    def take(self, limit: Limit, now: float) -> float:
        """Count one request, unless a limit is reached: then the seconds after which it may be tried again."""
        self._in_hand[self._worker] += 1
        wait = self._wait(limit, now)
        if wait:
            self._in_hand[self._worker] -= 1
        return wait

    def _wait(self, limit: Limit, now: float) -> float:
        if limit.concurrent is not None and sum(self._in_hand[: self._workers]) > limit.concurrent:
            return 1.0
        self._due[0], wait = next_due(self._due[0], now, limit)
        return wait

    def give_back(self) -> None:
        """Note that a request that was taken is over."""
        self._in_hand[self._worker] -= 1


class Limiter:
    """Counts the requests of all grants. May be used by several threads at once."""

    def __init__(
        self, directory: Path | None, worker: int = 0, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`directory` is shared by the workers; None for a process alone. `clock` is the same in all of them."""
        self._directory = directory
        self._worker = worker
        self._workers = workers
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, Count] = {}

    def take(self, name: str, limit: Limit) -> float:
        """Count a request of a grant: 0, or the seconds after which it may be tried again, and is not counted."""
        with self._lock:
            count = self._counts.get(name)
            if count is None:
                count = self._counts[name] = Count(_memory(self._directory, name), self._worker, self._workers)
            return count.take(limit, self._clock())

    def give_back(self, name: str) -> None:
        """Note that a request that was taken is over."""
        with self._lock:
            self._counts[name].give_back()


def forget(directory: Path | None, worker: int) -> None:
    """Give back what a worker had in hand that has ended."""
    for file in directory.iterdir() if directory is not None and directory.is_dir() else ():
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), _FILE_BYTES) as memory:
            place = _DUE_BYTES + 4 * (worker % MAX_WORKERS)
            memory[place : place + 4] = bytes(4)


def _memory(directory: Path | None, name: str) -> mmap.mmap:
    if directory is None:
        return mmap.mmap(-1, _FILE_BYTES)
    try:
        directory.mkdir(exist_ok=True)
        with (directory / hashlib.sha256(name.encode()).hexdigest()).open("ab+") as file:
            os.posix_fallocate(
                file.fileno(), 0, _FILE_BYTES
            )  # memory without a place on the disk would end the process
            return mmap.mmap(file.fileno(), _FILE_BYTES)
    except OSError as error:
        log.error("the limits of %s count in this worker only: %s", name, error)
        return mmap.mmap(-1, _FILE_BYTES)
