"""Models that share processors: who waits for whom."""

import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from serving.models.processors import LastRun, Processors
from tests.fakes import FakeClock

LONG = 3600.0
SHORT = 0.05


class Run(threading.Thread):
    """A run of a model in a thread of its own, which goes on until it is closed."""

    def __init__(self, processors: Processors, last: LastRun, most_seconds: float = math.inf) -> None:
        super().__init__(daemon=True)
        self._within = processors.run(last, most_seconds)
        self._told = threading.Event()
        self._begun = threading.Event()
        self.start()

    def run(self) -> None:
        with self._within:
            self._begun.set()
            assert self._told.wait(30)

    def begins(self, seconds: float = 30) -> bool:
        return self._begun.wait(seconds)

    def close(self) -> None:
        self._told.set()
        self.join(30)


class Shared:
    """A model that is asked all the time and another, on processors that they share; a context ends what still runs."""

    def __init__(self, count: int = 1) -> None:
        self.clock = FakeClock()
        self.processors = Processors(count, self.clock)
        self.flooded, self.other = LastRun(), LastRun()
        self._runs = ExitStack()

    def __enter__(self) -> "Shared":
        return self

    def __exit__(self, *_: object) -> None:
        self._runs.close()

    def ask(self, last: LastRun, most_seconds: float = math.inf) -> Run:
        return self._runs.enter_context(closing(Run(self.processors, last, most_seconds)))

    def run_while(self, last: LastRun, seconds: float, *others: LastRun) -> list[Run]:
        """Run a model for so long, while runs of others begin, which go on."""
        with self.processors.run(last, math.inf):
            begun = [self.ask(its) for its in others]
            assert all(run.begins() for run in begun)
            self.clock.pass_by(seconds)
        return begun


@pytest.fixture
def shared() -> Iterator[Shared]:
    with Shared() as shared:
        yield shared


def test_a_model_waits_for_the_run_of_another_that_began_during_its_last(shared: Shared) -> None:
    (other,) = shared.run_while(shared.flooded, LONG, shared.other)
    again = shared.ask(shared.flooded)
    assert not again.begins(0.1)
    other.close()
    assert again.begins()


@pytest.mark.parametrize(
    ("took", "pause", "most_seconds"),
    [(SHORT, 0.0, math.inf), (LONG, LONG + 1, math.inf), (LONG, 0.0, SHORT)],
    ids=["as long as its last run took", "less after a pause", "as long as its caller"],
)
def test_it_waits_no_longer_than(shared: Shared, took: float, pause: float, most_seconds: float) -> None:
    shared.run_while(shared.flooded, took, shared.other)
    shared.clock.pass_by(pause)
    assert shared.ask(shared.flooded, most_seconds).begins()


def test_a_run_that_began_after_its_last_had_ended_is_not_waited_for(shared: Shared) -> None:
    shared.run_while(shared.other, LONG)
    assert shared.ask(shared.flooded).begins()
    assert shared.ask(shared.other).begins()


def test_runs_of_the_same_model_do_not_wait_for_each_other(shared: Shared) -> None:
    shared.run_while(shared.flooded, LONG, shared.flooded)
    assert shared.ask(shared.flooded).begins()


def test_nobody_waits_while_a_processor_is_free() -> None:
    with Shared(2) as shared:
        shared.run_while(shared.flooded, LONG, shared.other)
        assert shared.ask(shared.flooded).begins()


def test_a_processor_that_its_own_run_has_is_not_free() -> None:
    with Shared(2) as shared:
        its_own, _ = shared.run_while(shared.flooded, LONG, shared.flooded, shared.other)
        again = shared.ask(shared.flooded)
        assert not again.begins(0.1)
        its_own.close()
        assert again.begins()


def test_a_turn_in_which_nothing_is_run_leaves_the_others_their_time(shared: Shared) -> None:
    (other,) = shared.run_while(shared.flooded, LONG, shared.other)
    with shared.processors.run(shared.flooded, 0):  # its caller has given up
        pass
    again = shared.ask(shared.flooded)
    assert not again.begins(0.1)
    other.close()
    assert again.begins()


def test_a_run_that_fails_makes_room_as_well(shared: Shared) -> None:
    failing = shared.processors.run(shared.other, math.inf)
    failing.__enter__()
    shared.clock.pass_by(1)
    shared.run_while(shared.flooded, LONG)
    again = shared.ask(shared.flooded)
    assert not again.begins(0.1)
    assert not failing.__exit__(ValueError, ValueError("failed"), None)
    assert again.begins()
