"""Models taken out of service and put back by hand, in every worker at once.

An order is written to a file that all workers share; each worker looks at it many times a second and leaves out of what
its source finds the models that are unloaded. The worker that was asked waits until all have done so, which they say on
the status board.

    {"number": 3, "unloaded": ["half"], "quarantined": [["twice", 2, "<fingerprint of its files>", "the reason"]]}

The server itself gives orders too: a version that ends the workers again and again is put in quarantine
(quarantine.py). It comes out of it when its files change, when an administrator loads the model, when the server gets
SIGHUP, and with the next start. The file lives as long as the server: after a start every model is served.
"""

import fcntl
import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from serving.errors import DeadlineExceeded, NotFound, Unavailable
from serving.models.lifecycle import State, Statuses, VersionStatus
from serving.models.source import ModelOnDisk, Settled, Source, nothing_settled

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
"""How often a worker looks for orders of others."""
CHECK_SECONDS = 0.01
"""How often the worker that gave an order looks whether all have carried it out."""

WAIT_SECONDS = 300.0
"""How long whoever gives an order waits at most for the slowest worker to carry it out."""


class Quarantined(NamedTuple):
    """A version that is not to be run, as long as its files have this fingerprint, and why."""

    model: str
    version: int
    fingerprint: str
    reason: str


@dataclass(frozen=True)
class Orders:
    """What has been ordered so far: the number of the last order, and the models that are unloaded."""

    number: int = 0
    unloaded: frozenset[str] = frozenset()
    quarantined: tuple["Quarantined", ...] = ()


class OrderFile:
    """The orders, in a file that all workers share, or in memory where there is no directory for it."""

    def __init__(self, directory: Path | None) -> None:
        self._file = directory and directory / "orders"
        self._lock = threading.Lock()
        self._own = Orders()

    def read(self) -> Orders:
        """The orders as they are now."""
        if self._file is None:
            return self._own
        try:
            said = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return Orders()
        quarantined = tuple(Quarantined(*version) for version in said["quarantined"])
        return Orders(said["number"], frozenset(said["unloaded"]), quarantined)

    def give(self, model: str, serve: bool) -> int:
        """Order that a model be served, whatever was held against it, or not; the number of the order."""

        def change(before: Orders) -> Orders:
            if not serve:
                return replace(before, unloaded=before.unloaded | {model})
            others = tuple(version for version in before.quarantined if version.model != model)
            return replace(before, unloaded=before.unloaded - {model}, quarantined=others)

        return self._change(change)

    def quarantine(self, version: Quarantined, instead_of: Collection[Quarantined] = ()) -> None:
        """Order that a version be run no more, and that others, which were blamed for what it did, be tried again."""

        def change(before: Orders) -> Orders:
            others = tuple(its for its in before.quarantined if its not in instead_of)
            return replace(before, quarantined=(*others, version))

        self._change(change)

    def forgive(self) -> None:
        """Order that whatever is in quarantine be tried again."""
        if self.read().quarantined:
            self._change(lambda before: replace(before, quarantined=()))

    def _change(self, change: Callable[[Orders], Orders]) -> int:
        with self._lock, self._exclusively():
            before = self.read()
            orders = replace(change(before), number=before.number + 1)
            self._write(orders)
        return orders.number

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, orders: Orders) -> None:
        if self._file is None:
            self._own = orders
            return
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(asdict(orders) | {"unloaded": sorted(orders.unloaded)}), encoding="utf-8")
        draft.replace(self._file)


class ControlledSource:
    """Finds what another source finds, without the models that are unloaded and the versions in quarantine.

    Belongs to the thread that polls.
    """

    def __init__(self, source: Source, orders: OrderFile) -> None:
        self._source = source
        self._orders = orders
        self.number = 0
        """The number of the last order that the last poll knew."""
        self.unloaded: Mapping[str, ModelOnDisk] = {}
        """What the last poll found and left out."""

    def poll(self, settled: Settled = nothing_settled) -> Mapping[str, ModelOnDisk]:
        orders = self._orders.read()
        found = self._source.poll(settled)
        self.unloaded = {name: model for name, model in found.items() if name in orders.unloaded}
        self.number = orders.number
        return {name: _obeying(model, orders) for name, model in found.items() if name not in orders.unloaded}


def _obeying(model: ModelOnDisk, orders: Orders) -> ModelOnDisk:
    """A model without the versions that are in quarantine, which it has beside the others then."""
    named = {(its.version, its.fingerprint): its.reason for its in orders.quarantined if its.model == model.config.name}
    if not named:
        return model
    reasons = {its.version: named.get((its.version, its.fingerprint), "") for its in model.versions}
    return replace(
        model,
        versions=tuple(its for its in model.versions if not reasons[its.version]),
        quarantined={version: reason for version, reason in reasons.items() if reason},
    )


class OrderWatch:
    """Has the orders that others give carried out here, in a thread of its own, until it is closed; twice is safe."""

    def __init__(self, orders: OrderFile, source: ControlledSource, look: Callable[[], None]) -> None:
        """`look` has this process look for orders now."""
        self._orders = orders
        self._source = source
        self._look = look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="orders", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        fails = False
        while not self._stop.wait(LOOK_SECONDS):
            try:
                number = self._orders.read().number
            except OSError as error:  # no file descriptor is left, say: one may come back
                if not fails:
                    log.error("orders cannot be read: %s", error)
                fails = True
                continue
            fails = False
            if number != self._source.number:
                self._look()


class Board(Protocol):
    """Where it can be read how far the workers are."""

    def obeyed(self, number: int) -> list[Statuses] | None: ...


class ModelControl:
    """Loads and unloads models in all workers. May be used by several threads at once."""

    def __init__(
        self,
        orders: OrderFile,
        source: ControlledSource,
        board: Board,
        look: Callable[[], None],
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """`look` has this worker look for orders now. An order that takes longer than `wait_seconds` is an error."""
        self._orders = orders
        self._source = source
        self._board = board
        self._look = look
        self._wait_seconds = wait_seconds

    def load(self, model: str) -> None:
        """Have every worker look at a model anew and serve it; returns when all do.

        NotFound when there is no such model, Unavailable with the reason when it cannot be loaded.
        """
        for statuses in self._carry_out(model, serve=True, is_done=_is_tried):
            its = statuses.get(model)
            if its is None:
                raise NotFound(f"Model {model} is not found: there is none of that name to load")
            if not any(status.state is State.AVAILABLE for status in its):
                raise Unavailable(f"Model {model} cannot be loaded: {_reason(its)}")

    def unload(self, model: str) -> None:
        """Have every worker serve a model no more; returns when none does. NotFound when there is no such model."""
        known = self._board.obeyed(0) or []
        if model not in self._orders.read().unloaded and not any(model in statuses for statuses in known):
            raise NotFound(f"Model {model} is not found: there is none of that name to unload")
        self._carry_out(model, serve=False, is_done=_is_gone)

    def unloaded(self) -> dict[str, list[int]]:
        """The versions on disk of the models that are unloaded, highest first."""
        return {name: [version.version for version in model.versions] for name, model in self._source.unloaded.items()}

    def _carry_out(
        self, model: str, serve: bool, is_done: Callable[[tuple[VersionStatus, ...]], bool]
    ) -> list[Statuses]:
        """Give an order and wait until all workers have carried it out; their statuses then."""
        number = self._orders.give(model, serve)
        log.info("model %s is to be %s", model, "loaded" if serve else "unloaded")
        self._look()
        deadline = time.monotonic() + self._wait_seconds
        while time.monotonic() < deadline:
            workers = self._board.obeyed(number)
            if workers is not None and all(is_done(statuses.get(model, ())) for statuses in workers):
                return workers
            time.sleep(CHECK_SECONDS)
        raise DeadlineExceeded(f"Not every worker has carried this out within {self._wait_seconds:g} seconds; it will")


def _is_tried(statuses: tuple[VersionStatus, ...]) -> bool:
    return all(status.state not in (State.START, State.LOADING) for status in statuses)


def _is_gone(statuses: tuple[VersionStatus, ...]) -> bool:
    return all(status.state is State.END for status in statuses)


def _reason(statuses: tuple[VersionStatus, ...]) -> str:
    return next((status.error_message for status in statuses if status.failed), "it has no version")
