"""Runs that do not end are found."""

import threading

from serving.models.runs import Run, VersionPath
from serving.watchdog import Watchdog, overdue

HALF = VersionPath("half", 1, "/models/half/1")


def test_the_run_that_goes_on_longest_is_overdue_when_its_time_is_over() -> None:
    runs = [Run(HALF, 5.0), Run(HALF, 2.0), Run(HALF, 3.0)]
    assert overdue(runs, now=10.0, limit=6.0) == Run(HALF, 2.0)
    assert overdue(runs, now=10.0, limit=9.0) is None
    assert overdue([], now=10.0, limit=0.0) is None


def test_a_load_is_never_overdue() -> None:
    assert overdue([Run(HALF, None)], now=1e9, limit=1.0) is None


def test_it_tells_of_a_run_that_stays_and_not_of_runs_that_come_and_go() -> None:
    looks = iter([[Run(HALF, 1.0)], [Run(HALF, 2.0)], [], [Run(HALF, 3.0)], [Run(HALF, 3.0)]])
    told = threading.Event()
    found: list[Run] = []

    def tell(run: Run, seconds: float) -> None:
        found.append(run)
        told.set()

    Watchdog(lambda: next(looks), lambda: 0.0, tell, look_seconds=0.001).start()
    assert told.wait(30)
    assert found == [Run(HALF, 3.0)]
