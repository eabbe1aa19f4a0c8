"""Runs that their caller waits for only so long."""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

from serving.errors import DeadlineExceeded, InvalidArgument, Unavailable
from serving.models.patience import Patience
from tests.server import wait_for

OUTPUTS = {"y": np.ones(1)}


class Held(AbstractContextManager[None]):
    """Says whether it is held."""

    def __init__(self) -> None:
        self.state = "taken"

    def __exit__(self, *_: object) -> None:
        self.state = "given back"


def test_a_run_that_ends_in_time_is_answered() -> None:
    held = Held()
    assert Patience().run(lambda: OUTPUTS, 30, lambda: held) is OUTPUTS
    assert held.state == "given back"


def test_an_error_is_that_of_the_run() -> None:
    def fail() -> Any:
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument, match="no"):
        Patience().run(fail, 30, nullcontext)


def test_a_run_that_takes_too_long_goes_on_alone_and_keeps_what_it_needs() -> None:
    go_on, held = threading.Event(), Held()

    def run() -> Any:
        go_on.wait(30)
        return OUTPUTS

    with pytest.raises(DeadlineExceeded, match=r"0\.01 seconds"):
        Patience().run(run, 0.01, lambda: held)
    assert held.state == "taken"
    go_on.set()
    wait_for(lambda: held.state == "given back", "the run ends", 30)


def test_runs_that_nobody_waits_for_do_not_pile_up() -> None:
    go_on, patience = threading.Event(), Patience(max_runs=1)

    def run() -> Any:
        go_on.wait(30)
        return OUTPUTS

    with pytest.raises(DeadlineExceeded):
        patience.run(run, 0.01, nullcontext)

    def hold() -> Any:
        raise AssertionError("nothing is held for a run that does not begin")

    with pytest.raises(Unavailable):
        patience.run(lambda: OUTPUTS, 30, hold)
    go_on.set()

    def runs_again() -> bool:
        try:
            return patience.run(lambda: OUTPUTS, 30, nullcontext) is OUTPUTS
        except Unavailable:
            return False

    wait_for(runs_again, "there is room again", 30)
