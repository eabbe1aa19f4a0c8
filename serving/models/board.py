"""The states of the models in all workers, as one.

Every worker loads its own copies. Each writes its statuses to a file of its own in a directory that all share, and
reads those of the others, so that any worker can say what the server as a whole has available.

    {"settled": true, "orders": 3, "models": {"half": [[2, "AVAILABLE", "OK", ""], [1, "END", "OK", ""]]}}

A worker takes connections from when it has settled: when each of its models has a version that was tried, or none to
come. Until then it does not count beside those that have. `orders` is how far it has carried out what administration
has ordered (control.py).
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving import metrics
from serving.models.lifecycle import State, Statuses, VersionStatus

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Worker:
    """What one worker says of itself."""

    statuses: Statuses
    settled: bool
    orders: int = 0


class StatusBoard:
    """Shares statuses between processes; without a directory it knows only its own.

    One thread may publish while any read. What cannot be written is logged; what cannot be read is left out.
    """

    def __init__(
        self,
        directory: Path | None,
        orders: Callable[[], int] = lambda: 0,
        is_settled: Callable[[], bool] = lambda: True,
    ) -> None:
        """`orders` gives the number of the last order that this process has looked at.

        As long as not `is_settled`, this process has not settled, whatever it publishes.
        """
        self._orders = orders
        self._is_settled = is_settled
        self._file = None if directory is None else directory / f"{os.getpid()}.json"
        self._own: _Worker | None = None
        self._closed = False

    def publish(self, statuses: Statuses) -> None:
        """Make the statuses of this process known to the others."""
        tried = self._is_settled() and all(_is_tried(its) for its in statuses.values())
        settled = tried or (self._own is not None and self._own.settled)
        own = self._own = _Worker(statuses, settled, self._orders())
        metrics.show_model_states(
            {(name, status.version): status.state for name, its in statuses.items() for status in its},
            self,
        )
        if self._file is not None and not self._closed:
            draft = self._file.with_suffix(".new")
            try:
                draft.write_text(_as_text(own), encoding="utf-8")
                draft.replace(self._file)
            except OSError as error:  # models load all the same
                log.error("the other workers cannot be told which models are loaded: %s", error)

    def read(self) -> Statuses:
        """The statuses of all workers, merged: a version is available when it is in each of them."""
        return merge(self.workers())

    def workers(self) -> list[Statuses]:
        """The statuses of each worker that has settled, this one first; of all of them while none has."""
        return [worker.statuses for worker in self._that_count()]

    def obeyed(self, number: int) -> list[Statuses] | None:
        """The statuses of each worker, once all of them have looked at the orders up to this number; None before."""
        workers = self._that_count()
        return [worker.statuses for worker in workers] if all(its.orders >= number for its in workers) else None

    def close(self) -> None:
        """Take back what this process published; what it publishes later the others do not see. Twice is safe."""
        self._closed = True
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _that_count(self) -> list[_Worker]:
        own = [] if self._own is None else [self._own]
        workers = [*own, *self._others()]
        return [worker for worker in workers if worker.settled] or workers

    def _others(self) -> Iterator[_Worker]:
        if self._file is None:
            return
        for file in self._file.parent.glob("*.json"):
            if file != self._file and file.stem.isdecimal() and _is_alive(int(file.stem)):
                try:
                    yield _from_text(file.read_text(encoding="utf-8"))
                except (OSError, ValueError):
                    continue


def merge(workers: Sequence[Statuses]) -> Statuses:
    """One view of several workers, newest version first."""
    names = dict.fromkeys(name for statuses in workers for name in statuses)
    return {name: _merge_model([statuses.get(name, ()) for statuses in workers]) for name in names}


def _merge_model(workers: list[tuple[VersionStatus, ...]]) -> tuple[VersionStatus, ...]:
    by_version: dict[int, list[VersionStatus]] = {}
    for statuses in workers:
        for status in statuses:
            by_version.setdefault(status.version, []).append(status)
    return tuple(_merge_version(by_version[version], len(workers)) for version in sorted(by_version, reverse=True))


def _merge_version(statuses: list[VersionStatus], workers: int) -> VersionStatus:
    """The state that holds for every worker: LOADING on the way up, UNLOADING on the way down; a failure above all."""
    states = {status.state for status in statuses}
    failed = next((status for status in statuses if status.failed), None)
    if failed is not None:
        return failed
    if len(states) == 1 and (len(statuses) == workers or State.AVAILABLE not in states):
        return statuses[0]
    if State.UNLOADING in states or State.END in states:
        return VersionStatus(statuses[0].version, State.UNLOADING)
    return VersionStatus(statuses[0].version, State.LOADING)


def _is_tried(statuses: tuple[VersionStatus, ...]) -> bool:
    """Whether a version of a model is available or failed, or none is to come."""
    states = {status.state for status in statuses}
    return states.isdisjoint({State.START, State.LOADING}) or not states.isdisjoint({State.AVAILABLE, State.END})


def _as_text(worker: _Worker) -> str:
    models = {
        name: [(its.version, its.state, its.error_code, its.error_message) for its in versions]
        for name, versions in worker.statuses.items()
    }
    return json.dumps({"settled": worker.settled, "orders": worker.orders, "models": models})


def _from_text(text: str) -> _Worker:
    """What a worker says in a text; ValueError when it says nothing of the kind."""
    try:
        said = json.loads(text)
        statuses = {
            name: tuple(
                VersionStatus(int(version), State(state), code, message) for version, state, code, message in rows
            )
            for name, rows in said["models"].items()
        }
        return _Worker(statuses, bool(said["settled"]), int(said.get("orders", 0)))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not the statuses of a worker: {error}") from error


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
