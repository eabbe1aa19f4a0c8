"""The states of the models in all workers, as one.

Every worker loads its own copies. Each writes its statuses to a file of its own in a directory that all share, and
reads those of the others, so that any worker can say what the server as a whole has available.

    {"half": [[2, "AVAILABLE", "OK", ""], [1, "END", "OK", ""]]}
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from serving import metrics
from serving.models.lifecycle import State, Statuses, VersionStatus

log = logging.getLogger(__name__)


class StatusBoard:
    """Shares statuses between processes; without a directory it knows only its own.

    One thread may publish while any read. What cannot be written is logged; what cannot be read is left out.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = None if directory is None else directory / f"{os.getpid()}.json"
        self._own: Statuses | None = None

    def publish(self, statuses: Statuses) -> None:
        """Make the statuses of this process known to the others."""
        self._own = statuses
        metrics.show_model_states(
            {(name, status.version): status.state for name, its in statuses.items() for status in its}
        )
        if self._file is not None:
            draft = self._file.with_suffix(".new")
            try:
                draft.write_text(_as_text(statuses), encoding="utf-8")
                draft.replace(self._file)
            except OSError as error:  # models load all the same
                log.error("the other workers cannot be told which models are loaded: %s", error)

    def read(self) -> Statuses:
        """The statuses of all workers, merged: a version is available when it is in each of them."""
        own = [] if self._own is None else [self._own]
        return merge([*own, *self._others()])

    def close(self) -> None:
        """Take back what this process published. Twice is safe."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _others(self) -> Iterator[Statuses]:
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


def _as_text(statuses: Statuses) -> str:
    return json.dumps(
        {
            name: [(its.version, its.state, its.error_code, its.error_message) for its in versions]
            for name, versions in statuses.items()
        }
    )


def _from_text(text: str) -> Statuses:
    """The statuses that a text holds; ValueError when it does not hold any."""
    try:
        return {
            name: tuple(
                VersionStatus(int(version), State(state), code, message) for version, state, code, message in rows
            )
            for name, rows in json.loads(text).items()
        }
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not the statuses of a worker: {error}") from error


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
