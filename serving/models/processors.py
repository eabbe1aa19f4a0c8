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
class Turn:
    """The latest run of one model: when it ended, on the clock of the processors, and how many seconds it took."""

    ended: float = 0.0
    took: float = 0.0


class Processors:
    """Those that the models of a process share. May be used by several threads at once."""

    def __init__(self, count: float, clock: Callable[[], float] = time.monotonic) -> None:
        """So many runs have one for themselves, and need not wait for each other."""
        self._count = count
        self._clock = clock
        self._ended = threading.Condition()
        self._running: dict[object, tuple[Turn, float]] = {}
        """For each run the latest one of its model, and when it began itself."""

    @contextmanager
    def run(self, latest: Turn, most_seconds: float) -> Iterator[None]:
        """Run a model within this, whose `latest` run it will be. It waits for others, but no longer than is said."""
        with self._ended:
            left = min(latest.ended + latest.took - self._clock(), most_seconds)
            if left > 0:
                self._ended.wait_for(lambda: self._longer_at_it(latest) < self._count, left)
            run, started = object(), self._clock()
            self._running[run] = latest, started
        try:
            yield
        finally:
            with self._ended:
                del self._running[run]
                latest.ended = self._clock()
                latest.took = latest.ended - started
                self._ended.notify_all()

    def _longer_at_it(self, latest: Turn) -> int:
        """How many runs of other models began before the latest one of this model had ended."""
        return sum(other is not latest and started < latest.ended for other, started in self._running.values())
