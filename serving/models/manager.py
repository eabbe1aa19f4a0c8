"""The thread that keeps what is loaded equal to what ought to be, and lends it to requests."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from serving.errors import InvalidArgument, LoadError, NotFound, Unavailable
from serving.models.decisions import LoadVersion, Snapshot, backoff_seconds, next_action, next_retry
from serving.models.lifecycle import Handle, Instance, Load, LoadedModel, Model, State, Statuses, Version
from serving.models.source import Source, VersionOnDisk

log = logging.getLogger(__name__)


_UNKNOWN = Model()
"""What is known of a model that there is not."""


class ModelManager:
    """Keeps what is loaded equal to what the source wants, in a thread of its own, and lends what is available.

    Its public methods may be called from any thread, `reconcile` and `close` by one at a time. `publish` is told the
    statuses after every change, never in the thread of a request.
    """

    def __init__(
        self,
        source: Source,
        load: Load,
        poll_seconds: float,
        publish: Callable[[Statuses], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._load = load
        self._poll_seconds = poll_seconds
        self._publish = publish
        self._clock = clock
        self._lock = threading.Lock()
        self._models: dict[str, Model] = {}
        self._stop = threading.Event()
        self._look_now = threading.Event()
        self._settled = threading.Event()
        self._garbage = threading.Event()
        self._has_loaded = False
        self._thread = threading.Thread(target=self._run, name="model-manager", daemon=True)

    def start(self) -> None:
        """Begin to load; `wait_until_settled` says when every model has been tried once."""
        self._thread.start()

    def close(self) -> None:
        """Stop loading and unload everything; what requests hold closes when they return it. Twice is safe."""
        self._stop.set()
        self._look_now.set()
        if self._thread.is_alive():
            self._thread.join()
        for name, model in self._models.items():
            for version, its in model.versions.items():
                if its.instance is not None:
                    self._unload(name, version)
        self._tell()

    def look_now(self) -> None:
        """Look at the source soon, without waiting for the next poll."""
        self._look_now.set()

    def wait_until_settled(self, timeout: float) -> bool:
        """Wait until every model has a version that was tried, or none to come; whether that is so now."""
        return self._settled.wait(timeout)

    def borrow(
        self,
        name: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 0.0,
        hidden: bool = False,
    ) -> Handle:
        """Borrow a version by number or label, or the latest; to be used in a `with` block.

        What is not there while the models are loaded for the first time is waited for, up to `timeout` seconds. A model
        that is `hidden` from the caller is as one that does not exist.
        """
        settled = self._settled.is_set()
        try:
            return self._lend(name, version, label, hidden)
        except (InvalidArgument, NotFound):
            if settled:
                raise
        if not self._settled.wait(timeout):
            raise Unavailable("The models are still being loaded")
        return self._lend(name, version, label, hidden)

    def _lend(self, name: str, version: int | None, label: str | None, hidden: bool) -> Handle:
        with self._lock:
            model = _UNKNOWN if hidden else self._models.get(name, _UNKNOWN)
            if label is not None:
                version = model.labelled(label)
            instance = model.find(version)
            if instance is not None:
                return instance.lend()
            quarantine = model.why_not(version)
        if quarantine:
            raise Unavailable(f"Model {name} is in quarantine: {quarantine}")
        if self._stop.is_set():
            raise Unavailable("The server is shutting down")
        asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {asked}")

    def knows(self, name: str) -> bool:
        """Whether a model of that name is listed."""
        return name in self._models

    def answers_in_loop(self, name: str, body_bytes: int) -> bool:
        """Whether a request of so many bytes to any version of a model may be answered in an event loop."""
        instances = self._instances(name)
        return bool(instances) and all(instance.servable.answers_in_loop(body_bytes) for instance in instances)

    def runs_in_loop(self, name: str) -> bool:
        """Whether a version of a model is so quick that an event loop runs it itself."""
        return any(instance.servable.is_quick for instance in self._instances(name))

    def _instances(self, name: str) -> list[Instance]:
        with self._lock:
            return [its.instance for its in self._models.get(name, _UNKNOWN).versions.values() if its.instance]

    def version_of_label(self, name: str, label: str) -> int:
        """The version that a label stands for now; InvalidArgument when it stands for none."""
        with self._lock:
            return self._models.get(name, _UNKNOWN).labelled(label)

    def labels(self, name: str) -> Mapping[str, int]:
        """The labels of a model; none when there is no such model."""
        with self._lock:
            return dict(self._models.get(name, _UNKNOWN).labels())

    def batching(self, name: str) -> dict[str, Mapping[str, Any]]:
        """How the requests to each available version of a model are batched, by the version's number as text."""
        return {version: servable.batching for version, servable in self._loaded(name).items()}

    def image_inputs(self, name: str) -> dict[str, Mapping[str, Any]]:
        """How pictures become the input of those available versions of a model that take any, as JSON."""
        return {
            version: its.about.image_input.document
            for version, its in self._loaded(name).items()
            if its.about.image_input
        }

    def _loaded(self, name: str) -> dict[str, LoadedModel]:
        """The available versions of a model, by their numbers as text."""
        with self._lock:
            versions = sorted(self._models.get(name, Model()).versions.items())
            return {str(version): its.instance.servable for version, its in versions if its.instance is not None}

    def statuses(self) -> Statuses:
        """The versions of every listed model, newest first, with the last few that ended."""
        with self._lock:
            return {name: model.statuses() for name, model in self._models.items()}

    def reconcile(self) -> None:
        """Look at the source once and do, one at a time, all that there is to do."""
        now = self._clock()  # for all that follows, so that nothing that fails slowly is due again before the rest
        self._look()
        while not self._stop.is_set() and (action := next_action(self._snapshot(), now)):
            if isinstance(action, LoadVersion):
                self._load_version(action.name, action.on_disk)
            else:
                self._unload(action.name, action.version)
        self._forget()
        if self._all_tried():
            self._settled.set()
        self._tell()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look_now.wait(self._work())
            self._look_now.clear()

    def _work(self) -> float | None:
        """Do what there is to do; how many seconds to wait before the next time, None when there is none."""
        try:
            self.reconcile()
        except Exception:
            log.exception("could not bring the models up to date; trying again")
            return self._poll_seconds or 1.0
        self._collect_garbage()
        return self._poll_seconds or self._seconds_to_retry()

    def _seconds_to_retry(self) -> float | None:
        """Until the next retry, where the source is looked at only once; None when there is none."""
        retry_at = next_retry(self._snapshot())
        return None if retry_at is None else max(0.0, retry_at - self._clock())

    def _collect_garbage(self) -> None:
        """Free what was unloaded or half loaded: a session's graph refers to itself, and may be large.

        What is loaded is no garbage. It is kept out of the collections that large lists of numbers set off, and so is
        what the parent has frozen; both are looked at only after something was unloaded.
        """
        if self._garbage.is_set():
            self._garbage.clear()
            gc.unfreeze()
            gc.collect()
            gc.freeze()  # and look once more below, or a quarter as much garbage would pile up as was looked at here
        elif not self._has_loaded:
            return
        self._has_loaded = False
        gc.collect()
        gc.freeze()

    def _look(self) -> None:
        with self._lock:
            loaded = {path for model in self._models.values() for path in model.loaded_paths()}
        found = self._source.poll(loaded.__contains__)
        with self._lock:
            for name in dict.fromkeys([*self._models, *found]):
                self._models.setdefault(name, Model()).look(found.get(name))

    def _snapshot(self) -> dict[str, Snapshot]:
        with self._lock:
            return {name: model.snapshot() for name, model in self._models.items()}

    def _load_version(self, name: str, on_disk: VersionOnDisk) -> None:
        with self._lock:
            its = self._models[name].begin(on_disk.version)
        self._tell()
        started = self._clock()
        try:
            servable = self._load(name, on_disk.version, on_disk.path)
        except LoadError as error:
            self._note_failure(name, on_disk, its, error)
            return
        with self._lock:
            replaced = its.instance
            its.has_loaded(Instance(name, on_disk.version, servable, self._lock), on_disk.fingerprint)
        self._has_loaded = True
        self._tell()
        log.info("model %s version %d is available (%.1f s)", name, on_disk.version, self._clock() - started)
        if replaced is not None:
            replaced.retire(self._garbage.set)

    def _note_failure(self, name: str, on_disk: VersionOnDisk, its: Version, error: LoadError) -> None:
        with self._lock:
            its.has_failed(error, on_disk.fingerprint, self._clock())
            wait = backoff_seconds(its.failures)
        self._garbage.set()
        self._tell()
        log.error("model %s version %d cannot be loaded, next try in %.0f s: %s", name, on_disk.version, wait, error)

    def _unload(self, name: str, version: int) -> None:
        its = self._models[name].versions[version]
        with self._lock:
            instance = its.withdraw()
        self._tell()

        def ended() -> None:
            with self._lock:
                its.state = State.END
            self._garbage.set()
            log.info("model %s version %d is unloaded", name, version)
            self._look_now.set()

        if instance is not None:
            instance.retire(ended)

    def _forget(self) -> None:
        """Drop what is over."""
        with self._lock:
            for model in self._models.values():
                model.forget()
            self._models = {name: model for name, model in self._models.items() if model.on_disk or model.versions}

    def _all_tried(self) -> bool:
        with self._lock:
            return all(model.is_tried() for model in self._models.values())

    def _tell(self) -> None:
        self._publish(self.statuses())
