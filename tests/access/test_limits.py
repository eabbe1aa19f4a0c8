"""How often and how many at once."""

from pathlib import Path

import pytest

from serving.access.limits import UNLIMITED, Limit, Limiter, forget
from tests.fakes import FakeClock

TWO_A_SECOND = Limit(requests_per_second=2.0)
ONE_IN_HAND = Limit(concurrent=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


def taken(limiter: Limiter, limit: Limit, tries: int, name: str = "key") -> int:
    """How many of so many tries at once are let through."""
    return sum(limiter.take(name, limit) == 0 for _ in range(tries))


def test_as_many_as_a_second_may_bring_go_at_once(clock: FakeClock) -> None:
    assert taken(Limiter(None, clock=clock), TWO_A_SECOND, 10) == 2


def test_who_has_to_wait_is_told_how_long(clock: FakeClock) -> None:
    limiter = Limiter(None, clock=clock)
    taken(limiter, TWO_A_SECOND, 2)
    assert limiter.take("key", TWO_A_SECOND) == pytest.approx(0.5)
    clock.pass_by(0.4)
    assert limiter.take("key", TWO_A_SECOND) == pytest.approx(0.1)
    clock.pass_by(0.1)
    assert limiter.take("key", TWO_A_SECOND) == 0


def test_over_a_long_time_the_rate_holds(clock: FakeClock) -> None:
    limiter, through = Limiter(None, clock=clock), 0
    for _ in range(1000):
        clock.pass_by(0.1)
        through += taken(limiter, TWO_A_SECOND, 3)
    assert 200 <= through <= 202


def test_time_without_requests_saves_up_no_more_than_a_burst(clock: FakeClock) -> None:
    limiter = Limiter(None, clock=clock)
    clock.pass_by(3600)
    assert taken(limiter, Limit(requests_per_second=2.0, burst=5), 20) == 5


def test_less_than_one_a_second_lets_one_through(clock: FakeClock) -> None:
    limiter = Limiter(None, clock=clock)
    assert taken(limiter, Limit(requests_per_second=0.1), 3) == 1
    assert limiter.take("key", Limit(requests_per_second=0.1)) == pytest.approx(10)


def test_no_more_are_in_hand_than_may_be(clock: FakeClock) -> None:
    limiter = Limiter(None, clock=clock)
    assert limiter.take("key", ONE_IN_HAND) == 0
    assert limiter.take("key", ONE_IN_HAND) > 0
    limiter.give_back("key")
    assert limiter.take("key", ONE_IN_HAND) == 0


def test_a_request_refused_for_one_limit_does_not_count_for_the_other(clock: FakeClock) -> None:
    limiter, both = Limiter(None, clock=clock), Limit(requests_per_second=2.0, concurrent=1)
    assert taken(limiter, both, 5) == 1
    limiter.give_back("key")
    assert taken(limiter, both, 5) == 1
    limiter.give_back("key")
    assert limiter.take("key", both) == pytest.approx(0.5)
    clock.pass_by(0.5)
    assert limiter.take("key", both) == 0


def test_each_name_has_limits_of_its_own(clock: FakeClock) -> None:
    limiter = Limiter(None, clock=clock)
    assert taken(limiter, TWO_A_SECOND, 5, "a") == taken(limiter, TWO_A_SECOND, 5, "b") == 2


def test_without_limits_nobody_waits(clock: FakeClock) -> None:
    assert taken(Limiter(None, clock=clock), UNLIMITED, 100) == 100


def test_workers_count_together(tmp_path: Path, clock: FakeClock) -> None:
    workers = [Limiter(tmp_path / "limits", number, 2, clock) for number in range(2)]
    assert [taken(worker, TWO_A_SECOND, 5) for worker in workers] == [2, 0]
    assert [worker.take("other", ONE_IN_HAND) > 0 for worker in workers] == [False, True]
    workers[0].give_back("other")
    assert workers[1].take("other", ONE_IN_HAND) == 0


def test_what_a_worker_had_in_hand_that_has_ended_is_given_back(tmp_path: Path, clock: FakeClock) -> None:
    first, second = (Limiter(tmp_path, number, 2, clock) for number in range(2))
    assert first.take("key", ONE_IN_HAND) == 0
    assert second.take("key", ONE_IN_HAND) > 0
    forget(tmp_path, 1)
    assert second.take("key", ONE_IN_HAND) > 0
    forget(tmp_path, 0)
    assert second.take("key", ONE_IN_HAND) == 0


def test_a_worker_that_takes_the_place_of_another_begins_with_nothing_in_hand(tmp_path: Path, clock: FakeClock) -> None:
    Limiter(tmp_path, 0, 2, clock).take("key", ONE_IN_HAND)
    assert Limiter(tmp_path, 0, 2, clock).take("key", ONE_IN_HAND) == 0


def test_a_worker_with_a_number_beyond_those_planned_counts_too(tmp_path: Path, clock: FakeClock) -> None:
    assert Limiter(tmp_path, 9, 2, clock).take("key", ONE_IN_HAND) == 0
    assert Limiter(tmp_path, 9, 2, clock).take("key", ONE_IN_HAND) == 0


def test_where_nothing_was_counted_there_is_nothing_to_forget(tmp_path: Path) -> None:
    forget(None, 0)
    forget(tmp_path / "nowhere", 0)
