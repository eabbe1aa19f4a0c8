"""What the manager keeps loaded, lends and says of it, with a source set by hand and a clock that is a variable."""

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.errors import InvalidArgument, NotFound, Unavailable
from serving.models.lifecycle import ENDED_SHOWN, QUARANTINED, State, Statuses, VersionStatus
from serving.models.manager import ModelManager
from serving.models.source import All, Latest, ModelOnDisk, Settled, Specific, VersionOnDisk, nothing_settled
from tests.fakes import FakeClock, FakeLoader, FakeServable, FakeSource, on_disk

DEADLINE = 10.0


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Statuses]:
    """What was published, in order."""
    return []


@pytest.fixture
def manager(source: FakeSource, loader: FakeLoader, clock: FakeClock, told: list[Statuses]) -> ModelManager:
    return ModelManager(source, loader, poll_seconds=1.0, publish=told.append, clock=clock)


def states(manager: ModelManager, model: str = "half") -> dict[int, str]:
    return {status.version: str(status.state) for status in manager.statuses()[model]}


def latest(manager: ModelManager, model: str = "half") -> int:
    with manager.borrow(model) as handle:
        return handle.version


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.005)


class TestLoading:
    def test_the_latest_version_is_loaded_and_lent(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1), on_disk(2))

        manager.reconcile()

        assert loader.loaded == [("half", 2)]
        with manager.borrow("half") as handle:
            assert (handle.model, handle.version, handle.servable) == ("half", 2, loader.servables[0])

    def test_a_version_is_lent_by_its_number(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1), on_disk(2), policy=All())
        manager.reconcile()

        with manager.borrow("half", version=1) as handle:
            assert handle.version == 1

    def test_the_latest_is_the_highest_that_is_available(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        loader.failing.add(("half", 10))
        source.set("half", on_disk(8), on_disk(9), on_disk(10), policy=All())

        manager.reconcile()

        assert latest(manager) == 9

    def test_the_highest_version_is_loaded_first(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1), on_disk(2), on_disk(3), policy=All())

        manager.reconcile()

        assert loader.loaded == [("half", 3), ("half", 2), ("half", 1)]

    def test_models_are_loaded_in_the_order_in_which_they_are_listed(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        names = [f"model{number}" for number in range(9)]
        for name in names:
            source.set(name, on_disk(1))

        manager.reconcile()

        assert loader.loaded == [(name, 1) for name in names]

    def test_what_is_as_it_should_be_is_left_alone(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))

        for _ in range(3):
            manager.reconcile()

        assert loader.loaded == [("half", 1)]

    def test_the_statuses_are_published_as_they_come_true(
        self, manager: ModelManager, source: FakeSource, told: list[Statuses]
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()
        source.set("half", on_disk(1), on_disk(2))
        manager.reconcile()

        seen = [" ".join(f"{status.version}:{status.state}" for status in statuses["half"]) for statuses in told]
        assert [text for text, _ in itertools.groupby(seen)] == [
            "1:LOADING",
            "1:AVAILABLE",
            "2:LOADING 1:AVAILABLE",
            "2:AVAILABLE 1:AVAILABLE",
            "2:AVAILABLE 1:UNLOADING",
            "2:AVAILABLE 1:END",
        ]

    def test_versions_that_nobody_wants_have_no_status(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1), on_disk(2), on_disk(3))

        manager.reconcile()

        assert manager.statuses() == {"half": (VersionStatus(3, State.AVAILABLE),)}

    def test_a_version_that_is_being_copied_has_not_started(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1), on_disk(2, still=False))

        manager.reconcile()

        assert states(manager) == {2: "START", 1: "AVAILABLE"}

    def test_a_version_that_was_removed_before_it_was_complete_is_forgotten(
        self, manager: ModelManager, source: FakeSource
    ) -> None:
        source.set("half", on_disk(1), on_disk(2, still=False))
        manager.reconcile()

        source.set("half", on_disk(1))
        manager.reconcile()

        assert states(manager) == {1: "AVAILABLE"}

    def test_a_model_without_any_version_is_listed(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half")

        manager.reconcile()

        assert manager.statuses() == {"half": ()}


class TestReplacing:
    def test_a_new_version_replaces_the_old_one_which_closes_once(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        source.set("half", on_disk(1), on_disk(2))
        manager.reconcile()
        manager.reconcile()

        assert states(manager) == {2: "AVAILABLE", 1: "END"}
        assert [servable.closes for servable in loader.servables] == [1, 0]

    def test_a_lent_version_stays_loaded_until_it_is_returned(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        with manager.borrow("half") as handle:
            source.set("half", on_disk(2))
            manager.reconcile()

            assert states(manager) == {2: "AVAILABLE", 1: "UNLOADING"}
            assert handle.servable.run("serving_default", {}) == {}
            assert loader.servables[0].closes == 0
        assert states(manager) == {2: "AVAILABLE", 1: "END"}
        assert loader.servables[0].closes == 1

    def test_it_closes_when_the_last_of_several_has_returned_it(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        with manager.borrow("half"):
            with manager.borrow("half"):
                source.unlist("half")
                manager.reconcile()
            assert loader.servables[0].closes == 0
        assert loader.servables[0].closes == 1

    def test_what_was_returned_before_is_not_waited_for(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()
        latest(manager)

        source.unlist("half")
        manager.reconcile()

        assert loader.servables[0].closes == 1

    def test_a_request_that_fails_returns_what_it_borrowed(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        with pytest.raises(RuntimeError, match="the request failed"), manager.borrow("half"):
            raise RuntimeError("the request failed")
        source.unlist("half")
        manager.reconcile()

        assert loader.servables[0].closes == 1

    def test_a_version_that_is_unloading_is_not_lent(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        with manager.borrow("half"):
            source.set("half", on_disk(2))
            manager.reconcile()

            with pytest.raises(NotFound):
                manager.borrow("half", version=1)

    def test_the_end_of_a_former_life_does_not_end_the_present_one(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()
        with manager.borrow("half"):
            source.set("half", on_disk(2))
            manager.reconcile()
            source.set("half", on_disk(1))
            manager.reconcile()

        assert states(manager) == {2: "END", 1: "AVAILABLE"}
        assert [servable.closes for servable in loader.servables] == [1, 1, 0]

    def test_a_version_that_ended_and_is_wanted_again_starts_anew(
        self, manager: ModelManager, source: FakeSource, told: list[Statuses]
    ) -> None:
        for versions in ([1], [2], [1]):
            source.set("half", *(on_disk(version) for version in versions))
            told.clear()
            manager.reconcile()

        assert [str(statuses["half"][-1].state) for statuses in told][:2] == ["LOADING", "AVAILABLE"]

    def test_files_changed_in_place_are_loaded_anew_before_the_old_ones_close(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        with manager.borrow("half") as old:
            source.set("half", on_disk(1, "changed"))
            manager.reconcile()

            assert states(manager) == {1: "AVAILABLE"}
            with manager.borrow("half") as new:
                assert (old.servable, new.servable) == (loader.servables[0], loader.servables[1])
        assert states(manager) == {1: "AVAILABLE"}
        assert [servable.closes for servable in loader.servables] == [1, 0]

    def test_what_cannot_be_closed_ends_all_the_same_and_harms_no_request(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader, caplog: pytest.LogCaptureFixture
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()
        with manager.borrow("half") as handle:
            handle.servable.close = self.fail_to_close  # type: ignore[method-assign]
            source.set("half", on_disk(2))
            manager.reconcile()

        assert states(manager) == {2: "AVAILABLE", 1: "END"}
        assert "model half version 1 could not be closed" in caplog.text

    def fail_to_close(self) -> None:
        raise RuntimeError("cannot close")

    def test_an_unlisted_model_is_forgotten_once_nobody_holds_it(
        self, manager: ModelManager, source: FakeSource
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()
        source.unlist("half")

        with manager.borrow("half"):
            manager.reconcile()
            assert states(manager) == {1: "UNLOADING"}
        manager.reconcile()

        assert manager.statuses() == {}
        with pytest.raises(NotFound):
            manager.borrow("half")

    def test_a_model_whose_last_version_is_removed_has_none_left(
        self, manager: ModelManager, source: FakeSource
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        source.set("half")
        manager.reconcile()

        assert states(manager) == {1: "END"}

    @pytest.mark.parametrize("removed", [True, False], ids=["removed", "left on disk"])
    def test_only_the_last_versions_that_ended_are_shown(
        self, manager: ModelManager, source: FakeSource, removed: bool
    ) -> None:
        for version in range(1, 31):
            source.set("half", *(on_disk(there) for there in range(version if removed else 1, version + 1)))
            manager.reconcile()

        ended = [version for version, state in states(manager).items() if state == "END"]
        assert ended == list(range(29, 29 - ENDED_SHOWN, -1))


class TestLabels:
    @pytest.fixture
    def manager(self, manager: ModelManager, source: FakeSource) -> ModelManager:
        source.set("half", on_disk(1), on_disk(2), policy=All(), labels={"stable": 1, "gone": 9})
        manager.reconcile()
        return manager

    def test_a_label_stands_for_a_version(self, manager: ModelManager) -> None:
        with manager.borrow("half", label="stable") as handle:
            assert handle.version == 1
        assert manager.version_of_label("half", "stable") == 1
        assert manager.labels("half") == {"stable": 1, "gone": 9}

    def test_labels_are_followed_when_they_are_edited(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1), on_disk(2), policy=All(), labels={"stable": 2})
        manager.reconcile()

        with manager.borrow("half", label="stable") as handle:
            assert handle.version == 2

    @pytest.mark.parametrize("model", ["half", "unknown"])
    def test_an_unknown_label_is_an_error(self, manager: ModelManager, model: str) -> None:
        with pytest.raises(InvalidArgument, match=r"^Unrecognized servable version label: canary$"):
            manager.borrow(model, label="canary")
        with pytest.raises(InvalidArgument, match=r"^Unrecognized servable version label: canary$"):
            manager.version_of_label(model, "canary")

    def test_a_label_of_a_version_that_is_not_available_names_that_version(self, manager: ModelManager) -> None:
        with pytest.raises(NotFound, match=r"^Servable not found for request: Specific\(half, 9\)$"):
            manager.borrow("half", label="gone")

    def test_an_unknown_model_has_no_labels(self, manager: ModelManager) -> None:
        assert manager.labels("unknown") == {}


class TestNotFound:
    def test_an_unknown_model_is_not_found(self, manager: ModelManager) -> None:
        manager.reconcile()

        with pytest.raises(NotFound, match=r"^Servable not found for request: Latest\(foo\)$"):
            manager.borrow("foo")

    def test_an_unknown_version_is_not_found(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("foo", on_disk(1))
        manager.reconcile()

        with pytest.raises(NotFound, match=r"^Servable not found for request: Specific\(foo, 50\)$"):
            manager.borrow("foo", version=50)


class TestFailing:
    @pytest.fixture
    def manager(self, manager: ModelManager, source: FakeSource, loader: FakeLoader) -> ModelManager:
        """Serves version 1, while 2 fails."""
        source.set("half", on_disk(1))
        manager.reconcile()
        loader.failing.add(("half", 2))
        source.set("half", on_disk(1), on_disk(2))
        manager.reconcile()
        return manager

    def test_a_version_that_fails_ends_with_code_and_message_and_the_old_one_serves(
        self, manager: ModelManager
    ) -> None:
        failed = VersionStatus(2, State.END, "DATA_LOSS", "2 is damaged")

        assert manager.statuses() == {"half": (failed, VersionStatus(1, State.AVAILABLE))}
        assert failed.failed
        assert latest(manager) == 1

    def test_it_is_tried_again_after_1_2_4_and_more_seconds_up_to_a_minute(
        self, manager: ModelManager, loader: FakeLoader, clock: FakeClock
    ) -> None:
        waits = []
        last = clock.seconds
        while len(waits) < 8:
            tries = len(loader.loaded)
            clock.pass_by(0.5)
            manager.reconcile()
            if len(loader.loaded) > tries:
                waits.append(clock.seconds - last)
                last = clock.seconds

        assert waits == [1, 2, 4, 8, 16, 32, 60, 60]

    def test_it_stays_as_it_ended_while_it_is_tried_again(
        self, manager: ModelManager, told: list[Statuses], clock: FakeClock
    ) -> None:
        told.clear()
        clock.pass_by(1)

        manager.reconcile()

        assert {statuses["half"][0].state for statuses in told} == {State.END}

    def test_once_it_works_it_replaces_the_old_one_and_its_error_is_forgotten(
        self, manager: ModelManager, loader: FakeLoader, clock: FakeClock
    ) -> None:
        loader.failing.clear()
        clock.pass_by(1)

        manager.reconcile()

        assert manager.statuses() == {"half": (VersionStatus(2, State.AVAILABLE), VersionStatus(1, State.END))}

    def test_it_is_tried_at_once_when_its_files_changed_and_waits_start_over(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader, clock: FakeClock
    ) -> None:
        for seconds in (1, 2, 4):
            clock.pass_by(seconds)
            manager.reconcile()
        tries = len(loader.loaded)

        source.set("half", on_disk(1), on_disk(2, "repaired badly"))
        manager.reconcile()
        assert len(loader.loaded) == tries + 1

        clock.pass_by(1)
        manager.reconcile()
        assert len(loader.loaded) == tries + 2

    def test_files_changed_in_place_that_fail_leave_the_old_ones_available(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        loader.failing.add(("half", 1))
        source.set("half", on_disk(1, "changed"))

        manager.reconcile()

        assert states(manager)[1] == "AVAILABLE"
        with manager.borrow("half", version=1) as handle:
            assert handle.servable is loader.servables[0]

    def test_one_that_failed_and_was_removed_is_not_tried_again(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader, clock: FakeClock
    ) -> None:
        source.set("half", on_disk(1))
        tries = len(loader.loaded)

        clock.pass_by(100)
        manager.reconcile()

        assert len(loader.loaded) == tries
        assert states(manager) == {2: "END", 1: "AVAILABLE"}

    def test_models_that_take_long_to_fail_are_each_tried_once_at_a_time(self, source: FakeSource) -> None:
        clock, loader = FakeClock(), FakeLoader()

        def fail_slowly(name: str, version: int, path: Path) -> FakeServable:
            clock.pass_by(100)
            assert len(loader.loaded) < 10, "the others never get their turn"
            return loader(name, version, path)

        manager = ModelManager(source, fail_slowly, poll_seconds=1.0, clock=clock)
        for name in ("half", "digits"):
            loader.failing.add((name, 1))
            source.set(name, on_disk(1))

        manager.reconcile()

        assert loader.loaded == [("half", 1), ("digits", 1)]


class TestWhatTheSourceIsTold:
    def test_directories_that_are_loaded_are_settled(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1), on_disk(2))
        manager.reconcile()
        assert source.settled == set()

        manager.reconcile()
        assert source.settled == {Path("half/2")}

    @pytest.mark.parametrize("still", [True, False], ids=["failing", "being written"])
    def test_directories_whose_files_are_not_those_loaded_are_not(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader, still: bool
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()
        loader.failing.add(("half", 1))

        source.set("half", on_disk(1, "changed", still=still))
        manager.reconcile()
        manager.reconcile()

        assert source.settled == set()


class TestFirstLoading:
    def test_before_the_first_look_requests_are_told_to_come_back(self, manager: ModelManager) -> None:
        with pytest.raises(Unavailable, match=r"^The models are still being loaded$"):
            manager.borrow("half")
        with pytest.raises(Unavailable):
            manager.borrow("half", label="stable")

    def test_it_is_over_when_there_is_nothing_to_load(self, manager: ModelManager) -> None:
        manager.reconcile()

        assert manager.wait_until_settled(0)

    def test_it_is_over_when_all_models_are_loaded_or_failed(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        loader.failing.add(("digits", 1))
        source.set("half", on_disk(1))
        source.set("digits", on_disk(1))

        manager.reconcile()

        assert manager.wait_until_settled(0)

    def test_it_goes_on_while_the_only_version_of_a_model_is_being_copied(
        self, manager: ModelManager, source: FakeSource
    ) -> None:
        source.set("half", on_disk(1, still=False))
        manager.reconcile()
        assert not manager.wait_until_settled(0)

        source.set("half", on_disk(1))
        manager.reconcile()
        assert manager.wait_until_settled(0)

    def test_meanwhile_what_is_available_is_lent(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1))
        source.set("digits", on_disk(1, still=False))

        manager.reconcile()

        assert latest(manager) == 1
        with pytest.raises(Unavailable):
            manager.borrow("digits")

    def test_a_model_of_which_nothing_is_wanted_is_not_waited_for(
        self, manager: ModelManager, source: FakeSource
    ) -> None:
        source.set("half", on_disk(1), policy=Specific((5,)))

        manager.reconcile()

        assert manager.wait_until_settled(0)
        assert manager.statuses() == {"half": ()}


class Gate:
    """A loader that waits, until a test opens it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.loader = FakeLoader()

    def __call__(self, name: str, version: int, path: Path) -> FakeServable:
        self.reached.set()
        assert self.open.wait(DEADLINE)
        return self.loader(name, version, path)


@contextmanager
def started(manager: ModelManager) -> Iterator[ModelManager]:
    manager.start()
    try:
        yield manager
    finally:
        manager.close()


class TestThread:
    def test_models_load_in_the_background_until_close(self, source: FakeSource, loader: FakeLoader) -> None:
        source.set("half", on_disk(1))
        others = threading.enumerate()

        with started(ModelManager(source, loader, poll_seconds=0.01)) as manager:
            assert manager.wait_until_settled(DEADLINE)
            assert latest(manager) == 1
            (thread,) = (thread for thread in threading.enumerate() if thread not in others)
            assert thread.name == "model-manager"
            source.set("half", on_disk(2))
            wait_until(lambda: states(manager) == {2: "AVAILABLE", 1: "END"})
        assert not thread.is_alive()

    def test_a_request_waits_for_the_first_loading(self, source: FakeSource) -> None:
        gate = Gate()
        source.set("half", on_disk(1))

        with started(ModelManager(source, gate, poll_seconds=0.01)) as manager:
            assert gate.reached.wait(DEADLINE)
            assert states(manager) == {1: "LOADING"}
            threading.Timer(0.05, gate.open.set).start()
            with manager.borrow("half", timeout=DEADLINE) as handle:
                assert handle.version == 1

    @pytest.mark.parametrize("poll_seconds", [0.01, 0.0])
    def test_it_goes_on_after_an_unexpected_error(
        self, loader: FakeLoader, caplog: pytest.LogCaptureFixture, poll_seconds: float
    ) -> None:
        class FailsAtFirst(FakeSource):
            def poll(self, settled: Settled = nothing_settled) -> dict[str, ModelOnDisk]:
                found = super().poll(settled)
                if self.polls == 1:
                    raise RuntimeError("out of order")
                return dict(found)

        source = FailsAtFirst()
        source.set("half", on_disk(1))

        with started(ModelManager(source, loader, poll_seconds)) as manager:
            assert manager.wait_until_settled(DEADLINE)
        assert "could not bring the models up to date; trying again" in caplog.text

    def test_without_polling_the_source_is_looked_at_once(self, source: FakeSource, loader: FakeLoader) -> None:
        source.set("half", on_disk(1))

        with started(ModelManager(source, loader, poll_seconds=0.0)) as manager:
            assert manager.wait_until_settled(DEADLINE)
        assert source.polls == 1

    def test_without_polling_what_failed_is_tried_again(self, source: FakeSource, loader: FakeLoader) -> None:
        def fail_twice(name: str, version: int, path: Path) -> FakeServable:
            if len(loader.loaded) == 2:
                loader.failing.clear()
            return loader(name, version, path)

        loader.failing.add(("half", 1))
        source.set("half", on_disk(1))
        clock = itertools.count(step=10).__next__

        with started(ModelManager(source, fail_twice, poll_seconds=0.0, clock=clock)) as manager:
            wait_until(lambda: manager.statuses().get("half") == (VersionStatus(1, State.AVAILABLE),))
        assert len(loader.loaded) == 3


class TestClose:
    def test_everything_is_unloaded_once_and_twice_is_safe(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader, told: list[Statuses]
    ) -> None:
        source.set("half", on_disk(1), on_disk(2), policy=Latest(2))
        source.set("digits", on_disk(1))
        manager.reconcile()

        manager.close()
        manager.close()

        assert [servable.closes for servable in loader.servables] == [1, 1, 1]
        assert {status.state for versions in told[-1].values() for status in versions} == {State.END}

    def test_what_a_request_holds_is_closed_when_it_is_returned(
        self, manager: ModelManager, source: FakeSource, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        with manager.borrow("half"):
            manager.close()
            assert loader.servables[0].closes == 0
        assert loader.servables[0].closes == 1

    def test_later_requests_are_told_why(self, manager: ModelManager, source: FakeSource) -> None:
        source.set("half", on_disk(1))
        manager.reconcile()

        manager.close()

        with pytest.raises(Unavailable, match=r"^The server is shutting down$"):
            manager.borrow("half", timeout=DEADLINE)

    def test_what_is_being_loaded_is_closed_too_and_nothing_else_begins(self, source: FakeSource) -> None:
        gate = Gate()
        source.set("half", on_disk(1), on_disk(2), policy=All())
        manager = ModelManager(source, gate, poll_seconds=0.01)
        manager.start()
        assert gate.reached.wait(DEADLINE)

        closing = threading.Thread(target=manager.close)
        closing.start()
        wait_until(lambda: self.is_shutting_down(manager))
        gate.open.set()
        closing.join(DEADLINE)

        assert gate.loader.loaded == [("half", 2)]
        assert [servable.closes for servable in gate.loader.servables] == [1]

    def is_shutting_down(self, manager: ModelManager) -> bool:
        try:
            manager.borrow("half")
        except Unavailable as error:
            return "shutting down" in str(error)
        return False


class TestMemory:
    @pytest.fixture(autouse=True)
    def collectors(self) -> Iterator[list[str]]:
        """The threads that collected garbage; Python does not by itself meanwhile."""
        names: list[str] = []

        def note(phase: str, info: dict[str, int]) -> None:
            names.append(threading.current_thread().name)

        gc.disable()
        gc.callbacks.append(note)
        yield names
        gc.callbacks.remove(note)
        gc.unfreeze()
        gc.enable()

    def load_with_cycle(self, name: str, version: int, path: Path) -> FakeServable:
        servable = FakeServable()
        servable.metadata = {"graph": servable}
        self.freed.append(weakref.ref(servable))
        return servable

    def test_what_was_unloaded_is_freed_by_the_manager_although_it_refers_to_itself(
        self, source: FakeSource, collectors: list[str]
    ) -> None:
        self.freed: list[weakref.ref[FakeServable]] = []
        source.set("half", on_disk(1))
        with started(ModelManager(source, self.load_with_cycle, poll_seconds=0.01)) as manager:
            assert manager.wait_until_settled(DEADLINE)
            with manager.borrow("half") as handle:
                source.set("half", on_disk(2))
                wait_until(lambda: states(manager) == {2: "AVAILABLE", 1: "UNLOADING"})
            del handle

            wait_until(lambda: self.freed[0]() is None)

            assert self.freed[1]() is not None
            assert set(collectors) == {"model-manager"}

    def test_what_is_loaded_is_kept_out_of_later_collections_of_which_there_are_none_without_need(
        self, source: FakeSource, collectors: list[str]
    ) -> None:
        source.set("half", on_disk(1))
        before = gc.get_freeze_count()

        with started(ModelManager(source, FakeLoader(), poll_seconds=0.001)):
            wait_until(lambda: source.polls > 5)

        assert gc.get_freeze_count() > before
        assert collectors == ["model-manager"] * 2  # the beginning and the end of one


class TestQuarantine:
    """A version in quarantine is not among those on disk, but beside them."""

    @staticmethod
    def quarantine(source: FakeSource, *versions: VersionOnDisk) -> None:
        source.set("half", *versions, quarantined={3: "it ends workers"})

    def test_requests_are_told_so_and_may_come_again(
        self, source: FakeSource, manager: ModelManager, loader: FakeLoader
    ) -> None:
        source.set("half", on_disk(3))
        manager.reconcile()
        self.quarantine(source)
        manager.reconcile()
        for version in (None, 3):
            with pytest.raises(Unavailable, match="Model half is in quarantine: it ends workers"):
                manager.borrow("half", version)
        with pytest.raises(NotFound):
            manager.borrow("half", 2)
        assert loader.servables[0].closes == 1

    def test_its_status_says_why(self, source: FakeSource, manager: ModelManager) -> None:
        source.set("half", on_disk(3))
        manager.reconcile()
        self.quarantine(source)
        manager.reconcile()
        assert manager.statuses()["half"] == (VersionStatus(3, State.END, QUARANTINED, "it ends workers"),)

    def test_the_next_lower_version_serves_meanwhile(self, source: FakeSource, manager: ModelManager) -> None:
        source.set("half", on_disk(3), on_disk(2))
        manager.reconcile()
        assert latest(manager) == 3
        self.quarantine(source, on_disk(2))
        manager.reconcile()
        assert latest(manager) == 2
        assert states(manager) == {3: "END", 2: "AVAILABLE"}

    def test_a_new_worker_settles_without_it(
        self, source: FakeSource, manager: ModelManager, loader: FakeLoader
    ) -> None:
        self.quarantine(source)
        manager.reconcile()
        assert manager.wait_until_settled(0)
        assert loader.loaded == []
        with pytest.raises(Unavailable, match="quarantine"):
            manager.borrow("half")

    def test_it_is_loaded_when_it_is_out_of_it(self, source: FakeSource, manager: ModelManager) -> None:
        self.quarantine(source)
        manager.reconcile()
        source.set("half", on_disk(3))
        manager.reconcile()
        assert latest(manager) == 3
        assert states(manager) == {3: "AVAILABLE"}
