"""Requests to a model that are answered in an event loop: they wait there without holding it up."""

import asyncio
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from serving.caller import PATIENT, Caller
from serving.errors import DeadlineExceeded, InvalidArgument, Unavailable
from serving.fibers import Fibers
from serving.models.batching import ANSWER_BYTES, Batcher
from serving.models.limits import BatchLimits, Plan
from serving.tensors.spec import Array
from tests.models.test_batching import Doubling, floats

Outcome = list[float] | str


class Bench:
    """A batched model and an event loop in which its requests are answered."""

    def __init__(self, is_quick: bool, is_alone: bool = False, **limits: Any) -> None:
        self._is_alone = is_alone
        self.model = Doubling()
        plans = {
            "double": Plan(BatchLimits(max_rows=8, **limits)),
            "alone": Plan(None, "it is not pure"),
        }
        self.batcher = Batcher(self.model, plans, "m", is_quick)

    def answers(
        self, *requests: list[float], signature: str = "double", seconds: float = 30.0, body_bytes: int = 0
    ) -> list[Outcome]:
        """What becomes of requests that arrive in one turn of the loop, in their order."""
        return asyncio.run(self._answers(requests, signature, seconds, body_bytes))

    async def _answers(
        self, requests: tuple[list[float], ...], signature: str, seconds: float, body_bytes: int = 0
    ) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        fibers = Fibers(loop, lambda: self._is_alone)
        outcomes = [loop.create_future() for _ in requests]
        for values, outcome in zip(requests, outcomes, strict=True):
            now = time.monotonic()
            answer = partial(self._answer, values, signature, Caller(now, now + seconds, body_bytes=body_bytes))
            fibers.run(answer, outcome.set_result)
        return await asyncio.wait_for(asyncio.gather(*outcomes), 20)

    def _answer(self, values: list[float], signature: str, caller: Caller) -> Outcome:
        try:
            doubled: list[float] = self.batcher.run(signature, floats(*values), caller)["y"].tolist()
        except (InvalidArgument, DeadlineExceeded, Unavailable) as error:
            return type(error).__name__
        return doubled


@pytest.fixture(params=[True, False], ids=["quick", "slow"])
def either(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


@pytest.fixture
def slow() -> Bench:
    return Bench(is_quick=False)


def test_each_request_gets_its_own_rows(either: Bench) -> None:
    assert either.answers([1.0], [2.0, 3.0], [4.0]) == [[2.0], [4.0, 6.0], [8.0]]


def test_requests_to_a_quick_model_that_arrive_together_run_together() -> None:
    quick = Bench(is_quick=True)
    quick.answers([1.0], [2.0, 3.0], [4.0])
    assert quick.model.batches == [[1.0, 2.0, 3.0, 4.0]]


def test_no_batch_is_larger_than_its_limit(either: Bench) -> None:
    assert either.answers(*[[1.0, 2.0, 3.0]] * 5) == [[2.0, 4.0, 6.0]] * 5
    assert max(map(len, either.model.batches)) <= 8


def test_a_failing_request_fails_alone(either: Bench) -> None:
    assert either.answers([1.0], [-1.0], [3.0]) == [[2.0], "InvalidArgument", [6.0]]


@pytest.mark.parametrize("signature", ["double", "alone"])
@pytest.mark.parametrize("rows", [0, 1, 8, 9, 100])
def test_a_request_of_any_size_is_answered(either: Bench, signature: str, rows: int) -> None:
    assert either.answers([1.0] * rows, signature=signature) == [[2.0] * rows]


def test_the_loop_goes_on_while_a_model_runs(slow: Bench) -> None:
    slow.model.go_on.clear()

    async def meanwhile() -> None:
        while not slow.model.batches:
            await asyncio.sleep(0.001)
        slow.model.go_on.set()

    async def both() -> list[Outcome]:
        release = asyncio.create_task(meanwhile())
        answers = await slow._answers(([1.0],), "double", 30)
        await release
        return answers

    assert asyncio.run(both()) == [[2.0]]


def test_a_request_whose_time_is_over_waits_no_longer(slow: Bench) -> None:
    slow.model.go_on.clear()
    assert slow.answers([1.0], [2.0], seconds=0.05) == ["DeadlineExceeded"] * 2
    slow.model.go_on.set()
    assert slow.answers([3.0]) == [[6.0]]


def test_a_request_to_a_quick_model_that_nobody_can_meet_runs_at_once() -> None:
    quick = Bench(is_quick=True, is_alone=True)
    assert quick.answers([1.0], [2.0, 3.0]) == [[2.0], [4.0, 6.0]]
    assert quick.model.batches == [[1.0], [2.0, 3.0]]
    assert quick.answers([-1.0], [4.0]) == ["InvalidArgument", [8.0]]


def test_a_request_that_nobody_can_meet_is_padded_like_any_other() -> None:
    quick = Bench(is_quick=True, is_alone=True, allowed_sizes=(2, 8))
    assert quick.answers([1.0], [2.0, 3.0]) == [[2.0], [4.0, 6.0]]
    assert list(map(len, quick.model.batches)) == [2, 2]


def test_a_request_to_a_slow_model_does_not_run_in_the_loop_though_nobody_can_meet_it() -> None:
    slow, threads = Bench(is_quick=False, is_alone=True), set[int]()
    slow.model.after_run = lambda: threads.add(threading.get_ident())
    assert slow.answers([1.0]) == [[2.0]]
    assert threading.get_ident() not in threads


def test_more_rows_than_a_batch_run_in_the_loop_where_they_take_no_longer_than_one_may() -> None:
    quick, threads = Bench(is_quick=True, loop_rows=10), list[int]()
    quick.model.after_run = lambda: threads.append(threading.get_ident())
    assert quick.answers([1.0] * 10) == [[2.0] * 10]
    assert quick.answers([1.0] * 11) == [[2.0] * 11]
    here, elsewhere = threads
    assert here == threading.get_ident() != elsewhere


def test_more_rows_than_a_batch_of_a_quick_model_do_not_run_in_the_loop() -> None:
    quick, threads = Bench(is_quick=True), set[int]()
    quick.model.after_run = lambda: threads.add(threading.get_ident())
    assert quick.answers([1.0] * 9) == [[2.0] * 9]
    assert threads
    assert threading.get_ident() not in threads
    quick.answers([1.0] * 8)
    assert threading.get_ident() in threads


def test_requests_that_run_alone_wait_by_their_number_not_by_their_rows() -> None:
    bench = Bench(is_quick=True)
    bench.model.go_on.clear()
    outcomes = bench.answers(*([1.0] * 2000 for _ in range(66)), seconds=0.2)
    bench.model.go_on.set()
    assert outcomes == ["DeadlineExceeded"] * 65 + ["Unavailable"]


def test_a_small_request_behind_many_large_ones_keeps_its_deadline() -> None:
    quick = Bench(is_quick=True)
    quick.model.go_on.clear()
    outcomes = quick.answers(*([1.0] * 2000 for _ in range(20)), [1.0], seconds=0.2)
    quick.model.go_on.set()
    assert outcomes == ["DeadlineExceeded"] * 21


def test_threads_and_fibers_take_turns(slow: Bench) -> None:
    slow.model.go_on.clear()
    outcomes: list[list[float]] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(slow.batcher.run("double", floats(5))["y"].tolist()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    slow.model.go_on.set()
    assert slow.answers([1.0], [2.0]) == [[2.0], [4.0]]
    for thread in threads:
        thread.join(20)
    assert outcomes == [[10.0]] * 3


class Wide(Doubling):
    """Answers each row with so many values."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self._values = values

    def run(self, signature: str, inputs: Mapping[str, Array], caller: Caller = PATIENT) -> dict[str, Array]:
        return {"y": np.zeros((len(inputs["x"]), self._values), np.float32)}


@pytest.mark.parametrize(("values", "in_loop"), [(ANSWER_BYTES // 4, True), (ANSWER_BYTES // 4 + 1, False)])
def test_after_a_large_answer_no_request_as_long_is_answered_in_the_loop(
    either: Bench, values: int, in_loop: bool
) -> None:
    plans = {"double": Plan(BatchLimits(max_rows=8))}
    either.batcher = Batcher(Wide(values), plans, "m", either.batcher.is_quick)
    assert either.batcher.answers_in_loop(100)
    either.answers([1.0], body_bytes=100)
    assert either.batcher.answers_in_loop(100) is in_loop
    assert either.batcher.answers_in_loop(99)
    either.answers([1.0], body_bytes=200)
    assert either.batcher.answers_in_loop(100) is in_loop
    assert either.batcher.answers_in_loop(99)


class NoLongerQuick(Batcher):
    """Is found not to be quick, by another thread, just when it has been asked whether it is."""

    asked = False

    @property
    def is_quick(self) -> bool:
        before, self.asked = self.asked, True
        return not before

    @is_quick.setter
    def is_quick(self, value: bool) -> None:
        self.asked = False


def test_the_loop_does_not_wait_for_the_runs_of_threads_to_a_model_that_was_quick_a_moment_ago(slow: Bench) -> None:
    slow.batcher = NoLongerQuick(slow.model, {}, "m", runs_at_once=0)
    assert slow.answers([1.0], signature="alone", seconds=0.05) == [[2.0]]
