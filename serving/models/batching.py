"""Requests that meet at a model run together.

A batcher wraps a loaded model and has the same `run`. Nothing waits that need not: a request that finds the model idle
runs at once, in its own thread; those that arrive meanwhile wait, and when the model falls idle one of them runs as
many of them together as fit. Only requests to the same signature, with the same shapes behind dimension 0, are joined,
and only for signatures of which a trial has shown that rows together give what they give alone (trial.py).

When a joint run fails, its requests run one by one, so that each fails or succeeds by itself.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving import metrics
from serving.errors import DeadlineExceeded, Unavailable
from serving.models.about import NOTHING_KNOWN, About
from serving.models.lifecycle import Runnable
from serving.models.servable import TIMED_OUT
from serving.models.trial import Profile, are_quick
from serving.tensors.spec import Array

log = logging.getLogger(__name__)

QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full"

LONG_SECONDS = 0.01
"""A run that computes longer shows that a model is not quick, whatever its trial has shown."""

Tensors = Mapping[str, Array]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class BatchLimits:
    """How requests are joined: rows of a batch at most, waiting requests at most, seconds a request may wait."""

    max_rows: int = 64
    max_waiting: int = 256
    wait_seconds: float = 30.0


# Joining and parting: pure functions.


def row_count(inputs: Tensors) -> int | None:
    """The size of dimension 0 that all inputs share; None where they do not, or have none."""
    sizes = {len(array) if array.ndim else None for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else None


def batch_key(signature: str, inputs: Tensors) -> Key:
    """What requests must agree on to run together."""
    return (signature, *((name, array.shape[1:], array.dtype.str) for name, array in sorted(inputs.items())))


def merge(parts: Sequence[Tensors]) -> Tensors:
    """The rows of all parts, in their order. The parts have equal keys."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def split(outputs: Tensors, rows: Sequence[int]) -> list[dict[str, Array]] | None:
    """The outputs of a joint run, parted by the numbers of rows of its requests; None when they are not row by row."""
    ends = np.cumsum(rows)
    if any(array.ndim == 0 or len(array) != ends[-1] for array in outputs.values()):
        return None
    return [
        {name: array[end - count : end] for name, array in outputs.items()}
        for end, count in zip(ends, rows, strict=True)
    ]


# The batcher: the same with a queue, locks and the threads of the requests.


@dataclass(eq=False)
class _Task:
    """A waiting request. `signal` is released once: when its result is there, or when it is its turn to run."""

    key: Key
    signature: str
    inputs: Tensors
    rows: int
    signal: Any = field(default_factory=threading.Lock)
    outputs: dict[str, Array] | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.signal.acquire()

    @property
    def is_done(self) -> bool:
        return self.outputs is not None or self.error is not None


class Batcher:
    """Joins the requests to one loaded model. `run` may be called by several threads at once."""

    def __init__(
        self,
        model: Runnable,
        profiles: Mapping[str, Profile],
        limits: BatchLimits,
        name: str,
        on_slow: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.thread_time,
        about: About = NOTHING_KNOWN,
    ) -> None:
        """`profiles` says which signatures may be joined. Requests to others, and to quick ones, run as they are.

        `on_slow` is called when a run shows that the model is not quick after all. The clock is of what the thread
        computes: on a busy machine a quick run may take long by the clock on the wall.
        """
        self.signatures = model.signatures
        self.metadata = model.metadata
        self.about = about
        self.is_quick = are_quick(profiles)
        self._model = model
        self._batchable = {name for name, its in profiles.items() if its.batchable and not its.quick}
        self._limits = limits
        self._on_slow = on_slow
        self._clock = clock
        self._batch_rows = metrics.BATCH_ROWS.labels(name)
        self._lock = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._busy = False

    def run(self, signature: str, inputs: Tensors) -> dict[str, Array]:
        """Run a request, together with others where they meet; as `Runnable.run`."""
        rows = row_count(inputs) if signature in self._batchable else None
        if not rows or rows >= self._limits.max_rows:
            return self._run_quick(signature, inputs) if self.is_quick else self._model.run(signature, inputs)
        task = _Task(batch_key(signature, inputs), signature, inputs, rows)
        with self._lock:
            is_leader, self._busy = not self._busy, True
            if not is_leader:
                if len(self._waiting) >= self._limits.max_waiting:
                    raise Unavailable(QUEUE_FULL)
                self._waiting.append(task)
        if not is_leader:
            self._wait(task)
        if not task.is_done:
            self._lead(task)
        if task.error is not None:
            raise task.error
        assert task.outputs is not None
        return task.outputs

    @property
    def waiting(self) -> int:
        """How many requests wait now."""
        return len(self._waiting)

    def close(self) -> None:
        """Close the model."""
        self._model.close()

    def _run_quick(self, signature: str, inputs: Tensors) -> dict[str, Array]:
        """Run a request to a quick model, which stops being one when that takes long."""
        started = self._clock()
        try:
            return self._model.run(signature, inputs)
        finally:
            if self._clock() - started > LONG_SECONDS:
                self.is_quick = False
                self._on_slow()

    def _wait(self, task: _Task) -> None:
        """Wait until the task is done or it is its turn to run; out of time it gives up its place."""
        if task.signal.acquire(timeout=self._limits.wait_seconds):
            return
        with self._lock:
            if task in self._waiting:
                self._waiting.remove(task)
                raise DeadlineExceeded(f"{TIMED_OUT}: the model was busy with other requests")
        task.signal.acquire()  # it was taken at the last moment

    def _lead(self, task: _Task) -> None:
        """Run the task and those that can join it, then pass the turn on."""
        batch = [task]
        try:
            with self._lock:
                batch += self._take(task)
            self._run_together(batch)
        finally:
            with self._lock:
                successor = self._waiting.popleft() if self._waiting else None
                self._busy = successor is not None
            for other in batch[1:]:
                other.signal.release()
            if successor is not None:
                successor.signal.release()

    def _take(self, leader: _Task) -> list[_Task]:
        """Take waiting tasks that fit beside the leader out of the queue, in their order."""
        taken, rows = [], leader.rows
        for task in list(self._waiting):
            if task.key == leader.key and rows + task.rows <= self._limits.max_rows:
                self._waiting.remove(task)
                taken.append(task)
                rows += task.rows
        return taken

    def _run_together(self, batch: list[_Task]) -> None:
        if len(batch) == 1:
            self._run_alone(batch[0])
            return
        rows = [task.rows for task in batch]
        self._batch_rows.observe(sum(rows))
        try:
            outputs = self._model.run(batch[0].signature, merge([task.inputs for task in batch]))
        except DeadlineExceeded as error:  # alone they would take as long again, one after the other
            for task in batch:
                task.error = error
            return
        except Exception:
            parts = None
        else:
            parts = split(outputs, rows)
            if parts is None:
                self._batchable.discard(batch[0].signature)
                log.warning("signature %s does not answer row by row; it is no longer batched", batch[0].signature)
        if parts is None:
            for task in batch:
                self._run_alone(task)
            return
        for task, part in zip(batch, parts, strict=True):
            task.outputs = part

    def _run_alone(self, task: _Task) -> None:
        try:
            task.outputs = self._model.run(task.signature, task.inputs)
        except Exception as error:
            task.error = error
