"""Who runs when models that compute in threads share the processors of a worker.

The kernel gives each of two runs half of a processor, and TensorFlow can neither halt one nor compute it at a lower
priority. So a model that wants to run again leaves the processors to the runs of others that began before its last one
ended, for as long as that one took. A model that is asked all the time thus meets those of the others with part of a
run only.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False)
class LastRun:
    """That of one model: when it ended, and until when the model leaves the processors to others, by their clock."""

    ended: float = 0.0
    leaves_until: float = 0.0


class Processors:
    """Those that the models of a process share. May be used by several threads at once."""

    def __init__(self, count: float, clock: Callable[[], float] = time.monotonic) -> None:
        """So many runs have one for themselves, and need not wait for each other."""
        self._count = count
        self._clock = clock
        self._ended = threading.Condition()
        self._running: dict[object, tuple[LastRun, float]] = {}
        """For each run the last one of its model, and when it began itself."""

    @contextmanager
    def run(self, last: LastRun, most_seconds: float) -> Iterator[None]:
        """Run a model within this, which waits for others first, but no longer than is said, and updates `last`."""
        with self._ended:
            left = min(last.leaves_until - self._clock(), most_seconds)
            if left > 0:
                self._ended.wait_for(lambda: self._may_run(last), left)
            run, started = object(), self._clock()
            self._running[run] = last, started
        try:
            yield
        finally:
            with self._ended:
                del self._running[run]
                last.ended = ended = self._clock()
                # not sooner than before: where nothing was run after all, the others still have their time
                last.leaves_until = max(last.leaves_until, ended + (ended - started))
                self._ended.notify_all()

    def _may_run(self, last: LastRun) -> bool:
        """Whether a processor is free, or no run of another model began before the last one of this ended."""
        return len(self._running) < self._count or not any(
            other is not last and started < last.ended for other, started in self._running.values()
        )
