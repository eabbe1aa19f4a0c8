"""Models that share processors: who waits for whom."""

import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from serving.models.processors import Processors, Turn
from tests.fakes import FakeClock


class Run(threading.Thread):
    """A run of a model in a thread of its own, which goes on until it is told to end."""

    def __init__(self, processors: Processors, latest: Turn, most_seconds: float = math.inf) -> None:
        super().__init__(daemon=True)
        self._within = processors.run(latest, most_seconds)
        self._told = threading.Event()
        self.begun = threading.Event()
        self.start()

    def run(self) -> None:
        with self._within:
            self.begun.set()
            assert self._told.wait(30)

    def end(self) -> None:
        self._told.set()
        self.join(30)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@contextmanager
def running(processors: Processors, latest: Turn) -> Iterator[Run]:
    run = Run(processors, latest)
    assert run.begun.wait(30)
    try:
        yield run
    finally:
        run.end()


def run_for(processors: Processors, latest: Turn, clock: FakeClock, seconds: float) -> None:
    with processors.run(latest, math.inf):
        clock.pass_by(seconds)


def test_a_model_waits_for_the_run_of_another_that_began_during_its_last(clock: FakeClock) -> None:
    processors, flooded, other = Processors(1, clock), Turn(), Turn()
    with running(processors, flooded) as first:
        its = Run(processors, other)  # asks less, and so it waits for nobody
        assert its.begun.wait(30)
        clock.pass_by(30)
    again = Run(processors, flooded)
    assert not again.begun.wait(0.1)
    its.end()
    assert again.begun.wait(30)
    again.end()
    assert not first.is_alive()


def test_it_waits_no_longer_than_its_last_run_took(clock: FakeClock) -> None:
    processors, flooded, other = Processors(1, clock), Turn(), Turn()
    with ExitStack() as its:
        with processors.run(flooded, math.inf):
            its.enter_context(running(processors, other))
            clock.pass_by(0.05)
        with processors.run(flooded, math.inf):
            pass


def test_it_waits_no_longer_than_its_caller(clock: FakeClock) -> None:
    processors, flooded, other = Processors(1, clock), Turn(), Turn()
    with ExitStack() as its:
        with processors.run(flooded, math.inf):
            its.enter_context(running(processors, other))
            clock.pass_by(3600)
        with processors.run(flooded, 0.05):
            pass


def test_a_model_that_was_not_asked_for_as_long_as_it_ran_waits_for_nobody(clock: FakeClock) -> None:
    processors, flooded, other = Processors(1, clock), Turn(), Turn()
    with ExitStack() as its:
        with processors.run(other, math.inf):
            its.enter_context(running(processors, flooded))
            clock.pass_by(3600)
        clock.pass_by(3601)
        with processors.run(other, math.inf):
            pass


def test_a_run_that_began_after_its_last_had_ended_is_not_waited_for(clock: FakeClock) -> None:
    processors, flooded, other = Processors(1, clock), Turn(), Turn()
    run_for(processors, other, clock, 3600)
    with running(processors, flooded), processors.run(other, math.inf):
        pass


def test_runs_of_the_same_model_do_not_wait_for_each_other(clock: FakeClock) -> None:
    processors, latest = Processors(1, clock), Turn()
    with ExitStack() as its:
        with processors.run(latest, math.inf):
            its.enter_context(running(processors, latest))
            clock.pass_by(3600)
        with processors.run(latest, math.inf):
            pass


def test_nobody_waits_where_there_is_a_processor_for_each(clock: FakeClock) -> None:
    processors, flooded, other = Processors(2, clock), Turn(), Turn()
    with ExitStack() as its:
        with processors.run(flooded, math.inf):
            its.enter_context(running(processors, other))
            clock.pass_by(3600)
        with processors.run(flooded, math.inf):
            pass


def test_a_run_that_fails_makes_room_as_well(clock: FakeClock) -> None:
    processors, flooded, other = Processors(1, clock), Turn(), Turn()
    failing = processors.run(other, math.inf)
    failing.__enter__()
    run_for(processors, flooded, clock, 3600)
    again = Run(processors, flooded)
    assert not failing.__exit__(ValueError, ValueError("failed"), None)
    assert again.begun.wait(30)
    again.end()
