"""Who waits for an answer, and until when."""

import time

import pytest

from serving.caller import PATIENT, Caller
from serving.errors import Cancelled, DeadlineExceeded


def test_less_time_can_be_allowed_but_not_more() -> None:
    caller = Caller(arrived=100.0, deadline=130.0)
    caller.allow(60.0)
    assert caller.deadline == 130.0
    caller.allow(5.0)
    assert caller.deadline == 105.0


def test_a_caller_gives_up_when_its_time_is_over() -> None:
    now = time.monotonic()
    Caller(now, now + 60).check()
    with pytest.raises(DeadlineExceeded, match=r"^Timed out waiting for notification"):
        Caller(now, now).check()


def test_no_time_is_left_after_the_deadline() -> None:
    now = time.monotonic()
    assert Caller(now, now - 1).seconds_left() == 0.0
    assert 0 < Caller(now, now + 60).seconds_left() <= 60


def test_who_hung_up_is_not_waited_for() -> None:
    with pytest.raises(Cancelled):
        Caller(gone=True).check()


def test_the_patient_wait_for_ever() -> None:
    PATIENT.check()
    assert PATIENT.seconds_left() == float("inf")


def test_only_the_first_may_answer() -> None:
    caller = Caller()
    assert not caller.is_claimed
    assert [caller.claim() for _ in range(3)] == [True, False, False]
    assert caller.is_claimed
