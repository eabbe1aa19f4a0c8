"""Requests whose time is over, with a clock of our own."""

from collections.abc import Callable

import pytest

from serving.caller import Caller
from serving.connection import Connection
from serving.deadlines import LATE_SECONDS, LOOK_SECONDS, Deadlines
from serving.request import Request
from tests.fakes import FakeClock
from tests.wire import FakeFront


class Bench:
    """Deadlines, a clock, and what is due; `answered` are those whose time was over."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.due: list[Callable[[], None]] = []
        self.answered: list[Request] = []
        self.fails = False
        self.deadlines = Deadlines(lambda _, call: self.due.append(call), self._answer, self.clock)

    def _answer(self, request: Request, connection: Connection) -> None:
        self.answered.append(request)
        if self.fails:
            raise OSError("on purpose")

    def watch(self, seconds: float) -> Request:
        request = Request(caller=Caller(self.clock(), self.clock() + seconds))
        self.deadlines.watch(request, Connection(FakeFront()))
        return request

    def pass_by(self, seconds: float) -> None:
        self.clock.pass_by(seconds)
        self.due.pop(0)()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_request_is_answered_soon_after_its_time_is_over_and_not_before(bench: Bench) -> None:
    short, long = bench.watch(1), bench.watch(2)
    bench.pass_by(1)
    assert bench.answered == []
    bench.pass_by(LATE_SECONDS + LOOK_SECONDS)
    assert bench.answered == [short]
    assert not bench.deadlines.is_in_time(short)
    assert bench.deadlines.is_in_time(long)


def test_a_request_that_the_application_has_answered_is_left_to_it(bench: Bench) -> None:
    request = bench.watch(1)
    assert request.caller.claim()
    bench.pass_by(5)
    assert bench.answered == []
    assert bench.deadlines.is_in_time(request)


def test_the_application_may_not_answer_what_was_answered_late(bench: Bench) -> None:
    request = bench.watch(1)
    bench.pass_by(5)
    assert not request.caller.claim()


def test_nothing_is_looked_at_where_nothing_is_in_hand(bench: Bench) -> None:
    request = bench.watch(1)
    bench.deadlines.is_in_time(request)
    bench.pass_by(LOOK_SECONDS)
    assert bench.due == []


def test_a_failure_does_not_leave_the_others_without_an_answer(bench: Bench) -> None:
    bench.fails = True
    requests = [bench.watch(1), bench.watch(1)]
    for _ in requests:
        with pytest.raises(OSError, match="on purpose"):
            bench.pass_by(5)
    assert bench.answered == requests
