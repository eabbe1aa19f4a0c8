"""What requests to each model version have cost so far, counted in all workers together.

Each worker counts in memory of its own that is also a file, in a directory that all share; whoever asks adds the files
up. The file is named by the worker's number, and a worker that takes the place of another counts on where that one
ended. All counters are int64, times in ns; rows are sizes of dimension 0. What ran together is counted by its rows, for
at most SIZES different numbers of rows.
"""

import hashlib
import logging
import mmap
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.caller import PATIENT, Caller
from serving.models.lifecycle import Runnable
from serving.tensors.spec import Array

log = logging.getLogger(__name__)

(
    _LAST_MS,
    _ROWS,
    _SUCCEEDED,
    _RUN_NS,
    _FAILED,
    _FAILED_NS,
    _EXECUTIONS,
    _EXECUTED_NS,
    _INPUT_NS,
    _OUTPUT_NS,
) = range(10)
_SIZES_AT = 16
SIZES = 128
_BYTES = 8 * (_SIZES_AT + 3 * SIZES)


@dataclass
class Totals:
    """The sums of one model version."""

    last_inference_ms: int = 0
    rows: int = 0
    succeeded: int = 0
    run_ns: int = 0
    """Of the requests that succeeded, with the wait for a batch."""
    failed: int = 0
    failed_ns: int = 0
    executions: int = 0
    executed_ns: int = 0
    input_ns: int = 0
    output_ns: int = 0
    by_rows: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By the rows of an execution: how many there were, and their time."""

    def add(self, counters: "memoryview[int]") -> None:
        self.last_inference_ms = max(self.last_inference_ms, counters[_LAST_MS])
        for place, name in enumerate(_SUMS, start=1):
            setattr(self, name, getattr(self, name) + counters[place])
        for at in range(_SIZES_AT, len(counters), 3):
            rows, count, ns = counters[at], counters[at + 1], counters[at + 2]
            if count:
                before = self.by_rows.get(rows, (0, 0))
                self.by_rows[rows] = (before[0] + count, before[1] + ns)


_SUMS = (
    "rows",
    "succeeded",
    "run_ns",
    "failed",
    "failed_ns",
    "executions",
    "executed_ns",
    "input_ns",
    "output_ns",
)


class Counters:
    """The counters of one model version in this process. May be used by several threads at once."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._counters = memoryview(memory).cast("q")
        self._places: dict[int, int] = {}
        self._lock = threading.Lock()

    def ran(self, rows: int, ns: int) -> None:
        """Count a request that succeeded, and the time that its run took."""
        counters = self._counters
        with self._lock:
            counters[_LAST_MS] = int(time.time() * 1000)
            counters[_ROWS] += rows
            counters[_SUCCEEDED] += 1
            counters[_RUN_NS] += ns

    def failed(self, ns: int) -> None:
        """Count a request whose run failed."""
        with self._lock:
            self._counters[_FAILED] += 1
            self._counters[_FAILED_NS] += ns

    def executed(self, rows: int, ns: int) -> None:
        """Count one execution of the model, for one request or for several together."""
        counters = self._counters
        with self._lock:
            counters[_EXECUTIONS] += 1
            counters[_EXECUTED_NS] += ns
            at = self._places.get(rows) or self._find_place(rows)
            if at is not None:
                counters[at] = rows
                counters[at + 1] += 1
                counters[at + 2] += ns

    def converted(self, input_ns: int, output_ns: int) -> None:
        """Count the time that it took to read a request's tensors and to write those of its answer."""
        counters = self._counters
        with self._lock:
            counters[_INPUT_NS] += input_ns
            counters[_OUTPUT_NS] += output_ns

    def _find_place(self, rows: int) -> int | None:
        """Where executions of so many rows are counted; None when all places are taken by others."""
        for at in range(_SIZES_AT, len(self._counters), 3):
            if self._counters[at] == rows or not self._counters[at + 1]:
                self._places[rows] = at
                return at
        return None


class Statistics:
    """The counters of every model version. May be used by several threads at once."""

    def __init__(self, directory: Path | None, worker_index: int) -> None:
        """`directory` is where the workers share them; None for a process alone."""
        self._directory = directory
        self._index = worker_index
        self._counters: dict[tuple[str, int], Counters] = {}
        self._memory: dict[tuple[str, int], mmap.mmap] = {}
        self._lock = threading.Lock()

    def of(self, model: str, version: int) -> Counters:
        """The counters of this process for a model version."""
        return self._counters.get((model, version)) or self._make(model, version)

    def read(self, model: str, version: int) -> Totals:
        """What all workers have counted for a model version."""
        totals = Totals()
        for memory in self._of_all_workers(model, version):
            totals.add(memoryview(memory).cast("q"))
        return totals

    def forget(self, model: str, version: int) -> None:
        """Drop what was counted here, also by the worker before this one, for a model version that is gone."""
        with self._lock:
            self._counters.pop((model, version), None)
            self._memory.pop((model, version), None)  # unmapped when the last request that may still count is over
        if self._directory is not None:
            (self._directory / f"{self._index}-{_name(model, version)}").unlink(missing_ok=True)

    def _make(self, model: str, version: int) -> Counters:
        key = (model, version)
        with self._lock:
            if key not in self._counters:
                self._memory[key] = self._open(model, version)
                self._counters[key] = Counters(self._memory[key])
            return self._counters[key]

    def _open(self, model: str, version: int) -> mmap.mmap:
        if self._directory is None:
            return mmap.mmap(-1, _BYTES)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with (self._directory / f"{self._index}-{_name(model, version)}").open("a+b") as file:
                os.posix_fallocate(file.fileno(), 0, _BYTES)  # memory without a place on the disk would end the process
                return mmap.mmap(file.fileno(), _BYTES)
        except OSError as error:
            log.error("the requests to model %s are counted for this worker only: %s", model, error)
            return mmap.mmap(-1, _BYTES)

    def _of_all_workers(self, model: str, version: int) -> Iterable[bytes]:
        if self._directory is None:
            memory = self._memory.get((model, version))
            return [] if memory is None else [memory[:]]
        files = self._directory.glob(f"*-{_name(model, version)}")
        return [content for file in files if len(content := file.read_bytes()) == _BYTES]


class Counted:
    """Counts the executions of a model; the same otherwise."""

    def __init__(self, model: Runnable, counters: Counters) -> None:
        self.signatures = model.signatures
        self.metadata = model.metadata
        self._model = model
        self._counters = counters

    def run(self, signature: str, inputs: Mapping[str, Array], caller: Caller = PATIENT) -> dict[str, Array]:
        started = time.perf_counter_ns()
        outputs = self._model.run(signature, inputs, caller)
        self._counters.executed(row_count(inputs), time.perf_counter_ns() - started)
        return outputs

    def close(self) -> None:
        self._model.close()


def row_count(inputs: Mapping[str, Array]) -> int:
    """The size of dimension 0 of the first input that has one, else 1."""
    for array in inputs.values():
        if array.ndim:
            return len(array)
    return 1


def _name(model: str, version: int) -> str:
    return hashlib.sha256(f"{version} {model}".encode(errors="surrogatepass")).hexdigest()[:32]
