"""What this process has its models do at the moment, noted where it can be read when the process is no more.

A model can end the process that runs it: by a bug in native code, or by an operation that never returns and cannot be
stopped. Nobody can catch that, so every run is noted in memory that is also a file, which outlives the process: which
version, and since when. It costs no system call and no lock. Loading is noted too, since it runs the model.
"""

import json
import logging
import mmap
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from serving.caller import PATIENT, Caller
from serving.models.lifecycle import Runnable
from serving.tensors.spec import Array

log = logging.getLogger(__name__)

SLOTS = 1024
"""Runs that are noted at once; more go on unnoted."""
_BYTES = 16 * (SLOTS + 1)
_LOADING = 0
"""Stands for the time at which loading began: it may take as long as it takes."""


class VersionPath(NamedTuple):
    """A version and where its files are."""

    model: str
    version: int
    path: str


@dataclass(frozen=True)
class Run:
    """A run, or a load, that has begun. `started` is in seconds of the monotonic clock; None for a load."""

    of: VersionPath
    started: float | None


class Runs:
    """The runs of this process. May be used by several threads at once.

    A slot is two int64: the number of a version, 0 while the slot is free, and when the run began, in ns.
    """

    def __init__(self, directory: Path | None = None) -> None:
        """`directory` is where they can be read later; without one they are noted for this process only."""
        self._versions: list[VersionPath] = []
        self._names = None if directory is None else directory / f"{os.getpid()}.versions"
        self._slots = memoryview(_memory(directory)).cast("q")
        self._free = deque(range(SLOTS))

    def number(self, of: VersionPath) -> int:
        """The number under which the runs of a version are noted."""
        if of not in self._versions:
            self._versions.append(of)
            if self._names is not None:
                try:
                    self._names.write_text(json.dumps(self._versions), encoding="utf-8")
                except OSError as error:  # models run all the same
                    log.error("what this worker runs cannot be noted: %s", error)
        return self._versions.index(of) + 1

    def begin(self, number: int) -> int:
        """Note that a run of a version begins; the slot to give to `end`."""
        return self._take(number, time.monotonic_ns())

    def end(self, slot: int) -> None:
        """Note that the run in a slot is over."""
        self._slots[2 * slot] = 0
        if slot < SLOTS:
            self._free.append(slot)

    @contextmanager
    def loading(self, of: VersionPath) -> Iterator[None]:
        """Note that a version is being loaded."""
        slot = self._take(self.number(of), _LOADING)
        try:
            yield
        finally:
            self.end(slot)

    def now(self) -> list[Run]:
        """What runs now."""
        return _runs(self._slots, self._versions)

    def _take(self, number: int, started: int) -> int:
        try:
            slot = self._free.pop()
        except IndexError:
            return SLOTS  # one that nobody reads
        self._slots[2 * slot + 1] = started
        self._slots[2 * slot] = number
        return slot


class Noted:
    """Notes the runs of a model; the same otherwise."""

    def __init__(self, model: Runnable, runs: Runs, of: VersionPath) -> None:
        self.signatures = model.signatures
        self.metadata = model.metadata
        self._model = model
        self._runs = runs
        self._number = runs.number(of)

    def run(self, signature: str, inputs: Mapping[str, Array], caller: Caller = PATIENT) -> dict[str, Array]:
        slot = self._runs.begin(self._number)
        try:
            return self._model.run(signature, inputs, caller)
        finally:
            self._runs.end(slot)

    def close(self) -> None:
        self._model.close()


def crash_file(directory: Path, pid: int) -> Path:
    """Where a process writes why it ends; as long as it is empty, it was not for want of anything that it ran."""
    return directory / f"{pid}.crash"


def last_runs(directory: Path, pid: int) -> list[Run]:
    """What a process that has ended was running; nothing where that cannot be read."""
    try:
        names = json.loads((directory / f"{pid}.versions").read_bytes())
        slots = (directory / f"{pid}.runs").read_bytes()
    except (OSError, ValueError):
        return []
    return _runs(memoryview(slots).cast("q"), [VersionPath(*name) for name in names]) if len(slots) == _BYTES else []


def forget_runs(directory: Path, pid: int) -> None:
    """Remove what a process that has ended has noted."""
    for file in (directory / f"{pid}.versions", directory / f"{pid}.runs", crash_file(directory, pid)):
        file.unlink(missing_ok=True)


def _runs(slots: "memoryview[int]", versions: list[VersionPath]) -> list[Run]:
    return [
        Run(versions[number - 1], started / 1e9 if started != _LOADING else None)
        for number, started in zip(slots[0 : 2 * SLOTS : 2], slots[1 : 2 * SLOTS : 2], strict=True)
        if 0 < number <= len(versions)
    ]


def _memory(directory: Path | None) -> mmap.mmap:
    if directory is None:
        return mmap.mmap(-1, _BYTES)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / f"{os.getpid()}.runs").open("w+b") as file:
            os.posix_fallocate(file.fileno(), 0, _BYTES)  # memory without a place on the disk would end the process
            return mmap.mmap(file.fileno(), _BYTES)
    except OSError as error:
        log.error("what this worker runs cannot be noted: %s", error)
        return mmap.mmap(-1, _BYTES)
