"""The life of a model's versions: their states, and the handles that requests borrow.

A version's state moves forward only, each state entered after it has become true and left before it ceases to be:

    START -> LOADING -> AVAILABLE -> UNLOADING -> END
                `-> END, with the reason, when loading fails; it is tried again and stays END until it works

A version that is loaded again after it was unloaded begins a new life. What happens next is up to `decisions`, that it
happens up to `manager`, whose lock guards all that changes here.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from serving.caller import PATIENT, Caller
from serving.errors import InvalidArgument, LoadError
from serving.models.about import About
from serving.models.decisions import Known, Snapshot, backoff_seconds
from serving.models.source import ModelOnDisk, wanted
from serving.tensors.spec import Array

log = logging.getLogger(__name__)

ENDED_SHOWN = 10
"""How many ended versions of a model the status goes on showing."""


QUARANTINED = "ABORTED"
"""The status code of a version that is in quarantine, and of no other."""


class State(StrEnum):
    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version, and why it failed to load where it did."""

    version: int
    state: State
    error_code: str = "OK"
    error_message: str = ""

    @property
    def failed(self) -> bool:
        return self.error_code != "OK"

    @property
    def quarantined(self) -> bool:
        return self.error_code == QUARANTINED


Statuses = Mapping[str, tuple[VersionStatus, ...]]
"""The versions of every listed model, newest first."""


class Runnable(Protocol):
    """What runs the signatures of one loaded model."""

    signatures: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def run(self, signature: str, inputs: Mapping[str, Array], caller: Caller = PATIENT) -> dict[str, Array]:
        """Run a signature; what takes longer than the caller has time is stopped where that can be done."""
        ...

    def close(self) -> None: ...


class LoadedModel(Runnable, Protocol):
    """A loaded model, as the manager and the requests see it."""

    about: About
    """What people are told of it."""

    is_quick: bool
    """Whether an event loop may run it itself."""

    def answers_in_loop(self, body_bytes: int) -> bool:
        """Whether a request of so many bytes may be answered in an event loop."""
        ...

    def run(self, signature: str, inputs: Mapping[str, Array], caller: Caller = PATIENT) -> dict[str, Array]:
        """As for any runnable; what nobody waits for any more is not run."""
        ...

    @property
    def batching(self) -> Mapping[str, Mapping[str, Any]]:
        """How the requests to each signature are batched, or why they are not; values of JSON."""


Load = Callable[[str, int, Path], LoadedModel]
"""Load and warm up a version, given the model's name, the version and its directory; LoadError when it cannot."""


class Instance:
    """A loaded version and the number of requests that hold it; once retired it closes when none does."""

    def __init__(self, model: str, version: int, servable: LoadedModel, lock: threading.Lock) -> None:
        self.model = model
        self.version = version
        self.servable = servable
        self._lock = lock
        self._lent = 0
        self._retired = False
        self._on_closed: Callable[[], None] = lambda: None

    def lend(self) -> "Handle":
        """Lend the version; the caller holds the lock."""
        self._lent += 1
        return Handle(self)

    def take_back(self) -> None:
        with self._lock:
            self._lent -= 1
            over = self._retired and self._lent == 0
        if over:
            self._close()

    def retire(self, on_closed: Callable[[], None]) -> None:
        """Close the version as soon as nobody holds it; no more may be lent. The caller does not hold the lock."""
        with self._lock:
            self._on_closed = on_closed
            self._retired = True
            over = self._lent == 0
        if over:
            self._close()

    def _close(self) -> None:
        try:
            self.servable.close()
        except Exception:  # neither the request that was the last to hold it nor other models can help it
            log.exception("model %s version %d could not be closed", self.model, self.version)
        self._on_closed()


class Handle:
    """A borrowed version: it stays loaded until the `with` block ends."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.model = instance.model
        self.version = instance.version
        self.servable = instance.servable

    def __enter__(self) -> "Handle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._instance.take_back()


@dataclass
class Version:
    """One life of a version: `loaded` and `failed` are the fingerprints of its files, `retry_at` the manager's time."""

    state: State = State.START
    instance: Instance | None = None
    loaded: str = ""
    failed: str = ""
    failures: int = 0
    retry_at: float = 0.0
    error_code: str = "OK"
    error_message: str = ""

    def has_loaded(self, instance: Instance, fingerprint: str) -> None:
        self.state, self.instance, self.loaded = State.AVAILABLE, instance, fingerprint
        self.failed, self.failures, self.error_code, self.error_message = "", 0, "OK", ""

    def has_failed(self, error: LoadError, fingerprint: str, now: float) -> None:
        """Note a failure; the version goes on as it was where other files of it are available."""
        self.failures = self.failures + 1 if self.failed == fingerprint else 1
        self.failed = fingerprint
        self.retry_at = now + backoff_seconds(self.failures)
        if self.instance is None:
            self.state, self.error_code, self.error_message = State.END, error.code, str(error)

    def withdraw(self) -> Instance | None:
        """Lend it no more; answer what is to be retired."""
        instance, self.instance, self.loaded, self.state = self.instance, None, "", State.UNLOADING
        return instance


@dataclass
class Model:
    """What is known of one model; the manager's lock guards it."""

    on_disk: ModelOnDisk | None = None
    versions: dict[int, Version] = field(default_factory=dict)

    def look(self, on_disk: ModelOnDisk | None) -> None:
        """Note what is on disk now; what is wanted of it has its life before it, what never began is forgotten."""
        self.on_disk = on_disk
        begun = {version: its for version, its in self.versions.items() if its.state is not State.START}
        self.versions = {version: Version() for version in self._wanted()} | begun

    def begin(self, version: int) -> Version:
        """Begin to load a version: in a new life after it was unloaded, in the same where it serves or failed."""
        its = self.versions.get(version, Version())
        if its.state in (State.UNLOADING, State.END) and its.error_code == "OK":
            its = Version()
        if its.state is State.START:
            its.state = State.LOADING
        self.versions[version] = its
        return its

    def forget(self) -> None:
        """Drop all but the last few versions that ended; those that failed and are still there may be tried again."""
        present = {version.version for version in self.on_disk.versions} if self.on_disk else set()
        ended = [
            version
            for version, its in sorted(self.versions.items())
            if its.state is State.END and not (its.failed and version in present)
        ]
        for version in ended[: None if self.on_disk is None else -ENDED_SHOWN]:
            del self.versions[version]

    def find(self, version: int | None) -> Instance | None:
        """A version that is available, or the latest one; none that is in quarantine."""
        quarantined = self.quarantined()
        if version is not None:
            return None if version in quarantined else self.versions.get(version, Version()).instance
        latest = None  # by a loop, since each request does this: `max` would call a function for each version
        for number, its in self.versions.items():
            if its.instance and number not in quarantined and (latest is None or number > latest.version):
                latest = its.instance
        return latest

    def quarantined(self) -> Mapping[int, str]:
        """The versions in quarantine, with the reasons."""
        return self.on_disk.quarantined if self.on_disk else {}

    def why_not(self, version: int | None) -> str:
        """Why a version, or the latest one, is in quarantine; "" where it is not for that that there is none."""
        quarantined = self.quarantined()
        return quarantined.get(max(quarantined, default=0) if version is None else version, "")

    def labels(self) -> Mapping[str, int]:
        return self.on_disk.config.labels if self.on_disk else {}

    def labelled(self, label: str) -> int:
        if label not in self.labels():
            raise InvalidArgument(f"Unrecognized servable version label: {label}")
        return self.labels()[label]

    def is_tried(self) -> bool:
        """Whether a version is available or failed, or none is to come."""
        states = {its.state for its in self.versions.values()}
        return State.START not in states or not states.isdisjoint({State.AVAILABLE, State.END})

    def loaded_paths(self) -> list[Path]:
        """The directories whose files, as they were last seen, are what is loaded."""
        return [
            version.path
            for version in (self.on_disk.versions if self.on_disk else ())
            if self.versions.get(version.version, Version()).loaded == version.fingerprint
        ]

    def snapshot(self) -> Snapshot:
        known = {version: Known(its.loaded, its.failed, its.retry_at) for version, its in self.versions.items()}
        return Snapshot(self.on_disk, known)

    def statuses(self) -> tuple[VersionStatus, ...]:
        known = {
            version: VersionStatus(version, its.state, its.error_code, its.error_message)
            for version, its in self.versions.items()
        }
        known |= {
            version: VersionStatus(version, State.END, QUARANTINED, reason)
            for version, reason in self.quarantined().items()
        }
        return tuple(known[version] for version in sorted(known, reverse=True))

    def _wanted(self) -> tuple[int, ...]:
        if self.on_disk is None:
            return ()
        return wanted(self.on_disk.config.policy, [version.version for version in self.on_disk.versions], ())
