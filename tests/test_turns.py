"""Turns in an event loop that a test turns by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from serving.turns import (
    LANE_SECONDS,
    MOST_REST_SECONDS,
    RESTS,
    SCARCE_SECONDS,
    SHARED_LANE_SECONDS,
    SHARED_SECONDS,
    Turns,
)
from tests.fakes import FakeClock

PIECE = 1.01 * SHARED_LANE_SECONDS / 2
"""What it takes to begin a request here: two in a turn where there are other lanes, eight where there are none."""

MOST = 100


class Bench:
    """A loop, its clocks, and in `begun` the requests that have begun since the test last looked."""

    def __init__(self, preempted: int = 0) -> None:
        self.clock, self.computed = FakeClock(100.0), FakeClock()
        self.computes = False
        self.preempted = preempted
        self.quick = {"a", "b"}
        self._begun: list[str] = []
        self._soon: list[Callable[[], None]] = []
        self.rests: list[tuple[float, Callable[[], None]]] = []
        self.turns = Turns(
            self,  # type: ignore[arg-type]
            lambda: self.computes,
            self.quick.__contains__,
            MOST,
            self.clock,
            self.computed,
            lambda: self.preempted,
        )

    def call_soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.rests.append((seconds, call))

    def ask(self, lane: str, *names: str) -> list[bool]:
        """Whether each of these requests of a lane is taken."""
        return [self.turns.submit(lane, lambda name=name: self._begin(name)) for name in names]  # type: ignore[misc]

    def turn(self) -> None:
        soon, self._soon = self._soon, []
        for call in soon:
            call()

    def begun(self) -> str:
        begun, self._begun = "".join(self._begun), []
        return begun

    def _begin(self, name: str) -> None:
        self._begun.append(name)
        self.clock.pass_by(PIECE)
        self.computed.pass_by(PIECE)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_only_lane_begins_what_takes_a_millisecond_in_each_turn(bench: Bench) -> None:
    bench.clock.pass_by(SHARED_SECONDS)
    bench.ask("a", "0")
    bench.turn()
    bench.clock.pass_by(SHARED_SECONDS)
    bench.begun()
    bench.ask("a", *"0123456789")
    assert bench.begun() == "0123456789"[: round(LANE_SECONDS / PIECE)]
    bench.turn()
    assert bench.begun() == "89"


def test_of_two_lanes_each_begins_a_quarter_of_that(bench: Bench) -> None:
    bench.ask("a", *"aaaaa")
    bench.ask("b", *"bbb")
    assert bench.begun() == "aabb"
    bench.turn()
    assert bench.begun() == "aab"
    bench.turn()
    assert bench.begun() == "a"


def test_who_asks_beside_a_flood_begins_at_once(bench: Bench) -> None:
    bench.ask("a", *("a" * 100))
    bench.turn()
    bench.begun()
    bench.ask("b", "b")
    assert bench.begun() == "b"


def test_what_comes_later_does_not_begin_before_what_waits_in_its_lane(bench: Bench) -> None:
    bench.ask("a", *"0123")
    bench.turn()
    bench.ask("a", "4")
    bench.turn()
    bench.turn()
    assert bench.begun() == "01234"


def test_a_second_after_the_last_request_of_another_lane_one_has_the_loop_to_itself(bench: Bench) -> None:
    bench.ask("b", "b")
    bench.ask("a", "a")
    bench.turn()
    bench.clock.pass_by(SHARED_SECONDS)
    bench.begun()
    bench.ask("a", *"aaaa")
    assert bench.begun() == "aaaa"


def test_while_threads_compute_a_lane_begins_no_more_than_beside_others(bench: Bench) -> None:
    bench.ask("a", "a")
    bench.turn()
    bench.clock.pass_by(SHARED_SECONDS)
    bench.computes = True
    bench.begun()
    bench.ask("a", *"aaaa")
    assert bench.begun() == "aa"


def test_so_many_of_a_lane_wait_and_no_more(bench: Bench) -> None:
    assert bench.ask("a", *("a" * (2 + MOST + 1))) == [True] * (2 + MOST) + [False]
    assert bench.ask("b", "b") == [True]


def test_one_that_fails_to_begin_holds_up_no_other(bench: Bench) -> None:
    def fail() -> None:
        raise ValueError("broken")

    bench.ask("a", *"aa")
    bench.turns.submit("a", fail)
    bench.ask("a", *"aa")
    with pytest.raises(ValueError, match="broken"):
        bench.turn()
    bench.turn()
    assert bench.begun() == "aaaa"


class TestRests:
    """While threads compute, lack a processor, and what waits is for a model that the loop runs."""

    def flooded(self, bench: Bench, **changes: Any) -> Bench:
        state = {"computes": True, "preempted": 1} | changes
        for name, value in state.items():
            setattr(bench, name, value)
        bench.ask("a", *("a" * 20))
        bench.begun()
        bench.turn()
        return bench

    def test_it_rests_for_longer_than_it_computed(self, bench: Bench) -> None:
        self.flooded(bench)
        ((seconds, go_on),) = bench.rests
        assert (seconds, bench.begun()) == (pytest.approx(RESTS * 2 * PIECE), "")
        go_on()
        assert bench.begun() == "aa"
        bench.turn()
        assert bench.rests[1][0] == pytest.approx(RESTS * 2 * PIECE)

    def test_others_begin_meanwhile(self, bench: Bench) -> None:
        self.flooded(bench)
        bench.ask("b", "b")
        assert bench.begun() == "b"

    def test_however_much_it_computed_it_does_not_rest_for_long(self, bench: Bench) -> None:
        bench.computed.pass_by(5.0)
        self.flooded(bench)
        assert bench.rests[0][0] == MOST_REST_SECONDS

    def test_it_goes_on_resting_though_nobody_takes_its_processor_then(self, bench: Bench) -> None:
        self.flooded(bench)
        bench.rests[0][1]()
        bench.turn()
        assert len(bench.rests) == 2
        bench.clock.pass_by(SCARCE_SECONDS)
        bench.rests[1][1]()
        bench.turn()
        assert len(bench.rests) == 2

    def test_models_that_the_loop_does_not_run_do_not_rest(self, bench: Bench) -> None:
        bench.quick.discard("b")
        bench.ask("b", *"bbbb")
        self.flooded(bench)
        assert len(bench.rests) == 1
        bench.turn()
        assert (len(bench.rests), bench.begun()) == (1, "bb")
        bench.rests[0][1]()
        assert bench.begun() == "aa"

    def test_that_it_was_preempted_before_the_flood_says_nothing(self, bench: Bench) -> None:
        bench.preempted = 7
        self.flooded(bench, preempted=7)
        assert len(bench.rests) == 1
        other = Bench(preempted=7)
        self.flooded(other, preempted=7)
        assert not other.rests

    @pytest.mark.parametrize("changes", [{"computes": False}, {"preempted": 0}, {"quick": set()}])
    def test_else_it_does_not(self, bench: Bench, changes: dict[str, Any]) -> None:
        if "quick" in changes:
            bench.quick.clear()
            changes = {}
        self.flooded(bench, **changes)
        assert not bench.rests
        assert bench.begun() == "aa"
