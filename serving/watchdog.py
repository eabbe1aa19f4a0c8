"""Looks for runs that do not end.

TensorFlow stops a run that takes too long between two operations, not inside one. What goes on long after its time-out
will go on as long as it likes, holds what it holds, and only ends with the process.
"""

import threading
import time
from collections.abc import Callable, Iterable

from serving.models.runs import Run

LOOK_SECONDS = 0.5


def overdue(runs: Iterable[Run], now: float, limit: float) -> Run | None:
    """The run that has gone on longest, if for more than `limit` seconds; loads take what they take."""
    begun = [(run.started, run) for run in runs if run.started is not None and now - run.started > limit]
    return min(begun, key=lambda found: found[0])[1] if begun else None


class Watchdog:
    """Looks, in a thread of its own, until a run is found that does not end; that is told once."""

    def __init__(
        self,
        runs: Callable[[], Iterable[Run]],
        limit: Callable[[], float],
        found: Callable[[Run, float], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`limit` says how long, in seconds, a run may take now; `found` is told the run, and how long it has taken.

        It has to be overdue twice in a row, so that a process that was paused gets the time to end it.
        """
        self._runs = runs
        self._limit = limit
        self._found = found
        self._look_seconds = look_seconds
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _watch(self) -> None:
        before: Run | None = None
        while True:
            time.sleep(self._look_seconds)
            run = overdue(self._runs(), time.monotonic(), self._limit())
            if run is not None and run == before:
                assert run.started is not None
                self._found(run, time.monotonic() - run.started)
                return
            before = run
