"""What to load or unload next: pure functions of what is on disk and what is known of it.

- A version loads when it is still; of one model the highest first, of several models first one with nothing available.
- A version that failed makes room for the next lower one, where the policy is `Latest`. It is tried again when its
  time has come, or at once when its files change.
- An old version is unloaded only when a wanted one is available, or when there is nothing of its model any more: no
  version on disk, or no entry in the list of models.
- A version whose files change in place goes on serving while it is loaded anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.models.source import ModelOnDisk, VersionOnDisk, wanted


@dataclass(frozen=True)
class Known:
    """What is known of a version: the fingerprints of the files that it serves and of those that failed to load."""

    loaded: str = ""
    failed: str = ""
    retry_at: float = 0.0

    @property
    def available(self) -> bool:
        return bool(self.loaded)


@dataclass(frozen=True)
class Snapshot:
    """One model: what is on disk (None when it is no longer listed) and what is known of its versions."""

    on_disk: ModelOnDisk | None
    known: Mapping[int, Known]


@dataclass(frozen=True)
class LoadVersion:
    name: str
    on_disk: VersionOnDisk


@dataclass(frozen=True)
class UnloadVersion:
    name: str
    version: int


def next_action(models: Mapping[str, Snapshot], now: float) -> LoadVersion | UnloadVersion | None:
    """The one thing to do next, None when all is as it should be. `now` is compared with the times of retries."""
    for name, model in models.items():
        unload = _to_unload(model)
        if unload is not None:
            return UnloadVersion(name, unload)
    loads = [(name, load) for name, model in models.items() if (load := _to_load(model, now)) is not None]
    with_nothing_first = sorted(loads, key=lambda load: bool(_available(models[load[0]])))
    return next((LoadVersion(*load) for load in with_nothing_first), None)


def next_retry(models: Mapping[str, Snapshot]) -> float | None:
    """When the first of the versions that failed is tried again; None when there is none to try again."""
    return min((known.retry_at for model in models.values() for known in _failures_to_retry(model)), default=None)


def backoff_seconds(failures: int) -> float:
    """How long to wait after so many failures in a row: 1 s, 2 s, 4 s, up to a minute."""
    return min(60.0, 2.0 ** min(failures - 1, 6))


def _available(model: Snapshot) -> list[int]:
    return [version for version, known in sorted(model.known.items()) if known.available]


def _to_unload(model: Snapshot) -> int | None:
    available = _available(model)
    if model.on_disk is None:
        return next(iter(available), None)
    keep = _wanted(model.on_disk, model.known)
    replaced = any(version in keep for version in available) or not model.on_disk.versions
    return next((version for version in available if version not in keep), None) if replaced else None


def _to_load(model: Snapshot, now: float) -> VersionOnDisk | None:
    due = [version for version in _candidates(model) if _is_due(version, model.known.get(version.version), now)]
    return min(due, key=lambda version: _has_failed(version, model.known), default=None)


def _failures_to_retry(model: Snapshot) -> list[Known]:
    return [model.known[version.version] for version in _candidates(model) if _has_failed(version, model.known)]


def _candidates(model: Snapshot) -> list[VersionOnDisk]:
    """The versions to have loaded, highest first: those wanted, and those that would be if they had not failed."""
    if model.on_disk is None:
        return []
    keep = _wanted(model.on_disk, model.known)
    return [
        version
        for version in model.on_disk.versions
        if version.version in keep
        or (
            _has_failed(version, model.known)
            and version.version in _wanted(model.on_disk, model.known, forgiven=version.version)
        )
    ]


def _wanted(on_disk: ModelOnDisk, known: Mapping[int, Known], forgiven: int | None = None) -> tuple[int, ...]:
    """The versions that should be available now, highest first; `forgiven` counts as if it had not failed."""
    served = {version for version, its in known.items() if its.available}
    ready = [version.version for version in on_disk.versions if version.still or version.version in served]
    failed = {version.version for version in on_disk.versions if _has_failed(version, known)}
    return wanted(on_disk.config.policy, ready, failed - served - {forgiven})


def _has_failed(version: VersionOnDisk, known: Mapping[int, Known]) -> bool:
    return version.version in known and known[version.version].failed == version.fingerprint


def _is_due(version: VersionOnDisk, known: Known | None, now: float) -> bool:
    if known is None:
        return version.still
    is_new = version.fingerprint not in (known.loaded, known.failed)
    return version.still and (is_new or (known.failed == version.fingerprint and known.retry_at <= now))
