"""Threads that are shared out between lanes."""

import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from serving.lanes import Lanes
from tests.server import wait_for


class Calls:
    """Calls that wait until a test lets them go on, and what has begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, name: str) -> Callable[[], None]:
        def call() -> None:
            self.begun.append(name)
            assert self.go_on.wait(30)

        return call


@pytest.fixture
def calls() -> Iterator[Calls]:
    calls = Calls()
    yield calls
    calls.go_on.set()


def test_a_lane_has_half_of_the_threads_at_most(calls: Calls) -> None:
    lanes = Lanes(4, max_waiting=10)
    for _ in range(10):
        assert lanes.submit("flood", calls("flood"))
    assert lanes.submit("other", calls("other"))
    wait_for(lambda: "other" in calls.begun, "the other lane has its turn", 30)
    assert sorted(calls.begun) == ["flood", "flood", "other"]


def test_all_that_was_taken_is_called_in_order(calls: Calls) -> None:
    lanes = Lanes(2, max_waiting=100)
    calls.go_on.set()
    for number in range(50):
        assert lanes.submit("one", calls(str(number)))
    wait_for(lambda: len(calls.begun) == 50, "all are called", 30)
    assert calls.begun == [str(number) for number in range(50)]


def test_the_thread_that_was_busy_last_is_asked_first() -> None:
    lanes, threads = Lanes(16, max_waiting=1), list[int]()
    for number in range(20):
        assert lanes.submit("one", lambda: threads.append(threading.get_ident()))
        wait_for(lambda number=number: len(threads) > number, "it is called", 10)
    assert len(set(threads)) <= 4  # a few, since one may not be idle yet when the next call comes


def test_a_full_lane_refuses_and_the_others_do_not(calls: Calls) -> None:
    lanes = Lanes(2, max_waiting=3)
    assert [lanes.submit("full", calls("full")) for _ in range(6)] == [True] * 4 + [False] * 2
    assert lanes.submit("other", calls("other"))
    calls.go_on.set()
    wait_for(lambda: len(calls.begun) == 5, "what was taken is called", 30)
    assert lanes.submit("full", calls("full"))


def test_lanes_take_turns_for_a_single_thread(calls: Calls) -> None:
    lanes = Lanes(1, max_waiting=10)
    for _ in range(5):
        lanes.submit("flood", calls("flood"))
    lanes.submit("other", calls("other"))
    calls.go_on.set()
    wait_for(lambda: len(calls.begun) == 6, "all are called", 30)
    assert calls.begun.index("other") <= 2


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_call_that_fails_costs_neither_a_thread_nor_the_share_of_its_lane(
    calls: Calls, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise kind("on purpose")

    lanes = Lanes(2, max_waiting=10)
    calls.go_on.set()
    for _ in range(4):
        assert lanes.submit("failing", fail)
    lanes.submit("failing", calls("failing"))
    lanes.submit("other", calls("other"))
    wait_for(lambda: sorted(calls.begun) == ["failing", "other"], "both are called", 10)
    assert caplog.text.count("on purpose") >= 4


def test_nothing_of_a_call_is_held_by_a_thread_that_is_idle() -> None:
    class Body:
        pass

    lanes, bodies = Lanes(4, max_waiting=10), list["weakref.ref[Body]"]()
    together = threading.Barrier(2)

    def ask() -> None:
        body = Body()
        bodies.append(weakref.ref(body))
        assert lanes.submit("one", lambda: (body, together.wait(10)))

    ask()
    ask()
    wait_for(lambda: not any(body() for body in bodies), "what the calls held is gone", 10)
