"""Which version ends the workers, as far as that can be known from outside.

Whoever runs a model that ends its process is not there any more to say so. So the parent of the workers looks at what a
worker was running when it ended by a fault of what it ran (runs.py). Several versions may have been running then, all
but one of them innocent:

- A version that was running at DEATHS deaths within WINDOW_SECONDS is suspected.
- Of several suspects the one that has computed least since the start is blamed: one that computes all the time is
  running at every death, whoever is to blame, while one that seldom runs is there by chance only seldom.
- The deaths at which the blamed one was running are explained by that and count no more. If it was not to blame, they
  go on, and the next one is found. Was that one running at all deaths for which the first was blamed, it explains
  them too, and the first is released.

A run that merely takes too long is no fault: it ends its worker, but blames nobody (docs/decisions.md).
"""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from serving.models.control import OrderFile, Quarantined
from serving.models.runs import VersionPath, crash_file, forget_runs, last_runs
from serving.models.scanner import read_tree
from serving.models.statistics import Statistics

log = logging.getLogger(__name__)

DEATHS = 3
WINDOW_SECONDS = 300.0
REASON = (
    f"it was running whenever a worker ended by a fault, {DEATHS} times within {WINDOW_SECONDS / 60:g} minutes; it is "
    "tried again when its files change, when it is loaded by hand, and after SIGHUP"
)


@dataclass(frozen=True)
class Death:
    """When a worker ended (seconds), and the versions that it was running then."""

    at: float
    running: frozenset[VersionPath]


def blamed(deaths: Collection[Death], now: float, computed: Callable[[VersionPath], float]) -> VersionPath | None:
    """The version to put in quarantine, if any; `computed` says how much a version has computed since the start."""
    recent = [death for death in deaths if now - death.at <= WINDOW_SECONDS]
    suspects = {version for death in recent for version in death.running if _was_at(recent, version) >= DEATHS}
    return min(sorted(suspects), key=computed, default=None)


def _was_at(deaths: Collection[Death], version: VersionPath) -> int:
    return sum(version in death.running for death in deaths)


class Deaths:
    """The deaths that nobody has been blamed for yet. Belongs to the parent of the workers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: list[Death] = []
        self._explained: dict[Quarantined, list[Death]] = {}

    def examine(self, pid: int, runs: Path, orders: OrderFile, statistics: Statistics) -> None:
        """Look at what a worker that has ended left in the directory `runs`, and act on it."""
        running = frozenset(run.of for run in last_runs(runs, pid))
        cause = _read(crash_file(runs, pid))
        forget_runs(runs, pid)
        if cause:
            names = ", ".join(f"{its.model} version {its.version}" for its in sorted(running)) or "no model"
            log.error("worker %d ended by a fault while it ran %s: %s", pid, names, cause)
        if cause and running:
            self._deaths.append(Death(self._clock(), running))
            self._blame(orders, statistics)

    def _blame(self, orders: OrderFile, statistics: Statistics) -> None:
        now = self._clock()
        self._deaths = [death for death in self._deaths if now - death.at <= WINDOW_SECONDS]
        version = blamed(self._deaths, now, lambda its: statistics.read(its.model, its.version).executed_ns)
        if version is None:
            return
        self._punish(version, orders)
        # Only now: where the order cannot be given, they count when the next worker ends.
        self._deaths = [death for death in self._deaths if version not in death.running]

    def _punish(self, version: VersionPath, orders: OrderFile) -> None:
        try:
            fingerprint = read_tree(Path(version.path)).fingerprint
        except OSError:  # it is gone, and with it the need
            return
        guilty = Quarantined(version.model, version.version, fingerprint, REASON)
        innocent = [
            its
            for its, deaths in self._explained.items()
            if its != guilty and all(version in death.running for death in deaths)
        ]
        orders.quarantine(guilty, instead_of=innocent)
        self._explained = {its: deaths for its, deaths in self._explained.items() if its not in innocent}
        self._explained[guilty] = [death for death in self._deaths if version in death.running]
        log.error("model %s version %d is in quarantine: %s", version.model, version.version, REASON)
        for its in innocent:
            log.warning("model %s version %d is tried again: it was not to blame", its.model, its.version)


def _read(file: Path) -> str:
    """The first line of what a process wrote as its last words; "" when that is nothing."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return ""
