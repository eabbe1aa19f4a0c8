"""The model repository extension: what there is, and loading and unloading by hand."""

from collections.abc import Mapping
from typing import Any

from serving.models.lifecycle import State, VersionStatus

_STATES = {
    State.START: "LOADING",
    State.LOADING: "LOADING",
    State.AVAILABLE: "READY",
    State.UNLOADING: "UNLOADING",
    State.END: "UNAVAILABLE",
}


def index(
    statuses: Mapping[str, tuple[VersionStatus, ...]], unloaded: Mapping[str, list[int]], only_ready: bool
) -> list[dict[str, Any]]:
    """An entry for each version that is or was served, and for the newest of each model that is unloaded by hand."""
    entries = [_entry(name, status) for name, its in statuses.items() for status in its]
    entries += [
        _unavailable(name, str(next(iter(versions), ""))) for name, versions in unloaded.items() if name not in statuses
    ]
    return [entry for entry in entries if entry["state"] == "READY" or not only_ready]


def _entry(name: str, status: VersionStatus) -> dict[str, Any]:
    if status.state is State.END and not status.failed:
        return _unavailable(name, str(status.version))
    state = _STATES[status.state]
    return {"name": name, "version": str(status.version), "state": state, "reason": status.error_message}


def _unavailable(name: str, version: str) -> dict[str, Any]:
    return {"name": name, "version": version, "state": "UNAVAILABLE", "reason": "unloaded"}
