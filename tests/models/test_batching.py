"""Requests that meet at a model run together."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from serving.errors import DeadlineExceeded, InvalidArgument, ServingError, Unavailable
from serving.models.batching import Batcher, BatchLimits, batch_key, merge, row_count, split
from serving.models.trial import Profile
from serving.tensors.spec import Array
from tests.server import wait_for

PROFILES = {"double": Profile("", quick=False), "other": Profile("it is not pure", quick=False)}


def floats(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)}


class TestMergeAndSplit:
    def test_parts_come_back_as_they_went_in(self) -> None:
        parts = [floats(1, 2), floats(3), floats(4, 5, 6)]
        merged = merge(parts)
        assert merged["x"].tolist() == [1, 2, 3, 4, 5, 6]
        parted = split(merged, [2, 1, 3])
        assert parted is not None
        assert [part["x"].tolist() for part in parted] == [[1, 2], [3], [4, 5, 6]]

    @pytest.mark.parametrize("output", [np.zeros(5), np.zeros(7), np.float32(1)])
    def test_outputs_that_are_not_row_by_row_cannot_be_parted(self, output: Any) -> None:
        assert split({"x": np.zeros(6), "y": output}, [2, 1, 3]) is None

    def test_strings_are_joined_too(self) -> None:
        first, second = np.array([b"a"], object), np.array([b"b\0"], object)
        assert merge([{"s": first}, {"s": second}])["s"].tolist() == [b"a", b"b\0"]

    @pytest.mark.parametrize(
        ("inputs", "rows"),
        [
            ({"a": np.zeros((3, 2)), "b": np.zeros(3)}, 3),
            ({"a": np.zeros((3, 2)), "b": np.zeros(2)}, None),
            ({"a": np.zeros((3, 2)), "b": np.float32(1)}, None),
            ({"a": np.zeros((0, 2))}, 0),
            ({}, None),
        ],
    )
    def test_rows_are_counted_only_where_all_inputs_agree(self, inputs: Any, rows: int | None) -> None:
        assert row_count(inputs) == rows

    @pytest.mark.parametrize(
        ("other", "joins"),
        [
            ({"x": np.zeros((5, 2), np.float32)}, True),
            ({"x": np.zeros((1, 3), np.float32)}, False),
            ({"x": np.zeros((1, 2), np.float64)}, False),
            ({"x": np.zeros((1, 2, 1), np.float32)}, False),
            ({"y": np.zeros((1, 2), np.float32)}, False),
        ],
    )
    def test_only_equal_shapes_behind_the_rows_and_dtypes_join(self, other: Mapping[str, Array], joins: bool) -> None:
        one = batch_key("s", {"x": np.zeros((1, 2), np.float32)})
        assert (one == batch_key("s", other)) is joins
        assert one != batch_key("t", {"x": np.zeros((1, 2), np.float32)})


class Doubling:
    """A model that doubles, whose runs a test can hold up, and that refuses batches with a negative row."""

    signatures: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.drops_negatives = False
        self.out_of_time = False

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.batches.append(inputs["x"].tolist())
        assert self.go_on.wait(30)
        if self.out_of_time:
            raise DeadlineExceeded("too long")
        if self.drops_negatives:
            return {"y": inputs["x"][inputs["x"] >= 0] * 2}
        if (inputs["x"] < 0).any():
            raise InvalidArgument("negative")
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        self.batches.append([])


class Caller(threading.Thread):
    """A request in a thread of its own."""

    def __init__(self, run: Callable[[], dict[str, Array]]) -> None:
        super().__init__()
        self._run = run
        self.result: list[float] = []
        self.error: ServingError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._run()["y"].tolist()
        except ServingError as error:
            self.error = error


@pytest.fixture
def model() -> Doubling:
    return Doubling()


def meet(model: Doubling, batcher: Batcher, *requests: dict[str, Array], signature: str = "double") -> list[Caller]:
    """Let requests arrive, in this order, while the model is busy with one more; then let it go on."""
    model.go_on.clear()
    first = Caller(lambda: batcher.run(signature, floats(100)))
    wait_for(lambda: model.batches, "the first request runs")
    callers = [first]
    for number, request in enumerate(requests, start=1):
        callers.append(Caller(lambda request=request: batcher.run(signature, request)))
        wait_for(
            lambda number=number: (
                batcher.waiting == number or len(model.batches) > number or not callers[-1].is_alive()
            ),
            "the request waits, runs or is refused",
        )
    model.go_on.set()
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()
    return callers


class TestBatcher:
    def batcher(self, model: Doubling, **limits: Any) -> Batcher:
        return Batcher(model, PROFILES, BatchLimits(**limits), "m")

    def test_a_request_to_an_idle_model_runs_alone_at_once(self, model: Doubling) -> None:
        assert self.batcher(model).run("double", floats(1, 2))["y"].tolist() == [2, 4]
        assert model.batches == [[1, 2]]

    def test_requests_that_wait_anyway_run_together(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model), floats(1), floats(2, 3), floats(4))
        assert [caller.result for caller in callers] == [[200], [2], [4, 6], [8]]
        assert model.batches == [[100], [1, 2, 3, 4]]

    def test_a_batch_holds_no_more_rows_than_its_limit(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model, max_rows=3), floats(1), floats(2), floats(3), floats(4))
        assert [caller.result for caller in callers] == [[200], [2], [4], [6], [8]]
        assert model.batches == [[100], [1, 2, 3], [4]]

    def test_a_request_as_large_as_a_batch_does_not_wait(self, model: Doubling) -> None:
        batcher = self.batcher(model, max_rows=2)
        assert batcher.run("double", floats(1, 2, 3))["y"].tolist() == [2, 4, 6]

    def test_other_shapes_wait_for_their_turn(self, model: Doubling) -> None:
        flat, square = floats(1), {"x": np.array([[2.0]], np.float32)}
        callers = meet(model, self.batcher(model), flat, square, flat)
        assert [caller.result for caller in callers] == [[200], [2], [[4]], [2]]
        assert model.batches == [[100], [1, 1], [[2]]]

    def test_a_failing_row_fails_its_own_request_only(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model), floats(1), floats(-1), floats(3))
        assert [caller.result for caller in callers] == [[200], [2], [], [6]]
        assert isinstance(callers[2].error, InvalidArgument)

    def test_requests_of_different_sizes_find_their_places(self, model: Doubling) -> None:
        requests = [floats(*range(30)), floats(*range(40)), floats(*range(20))]
        callers = meet(model, self.batcher(model), *requests)
        assert [len(caller.result) for caller in callers] == [1, 30, 40, 20]
        assert [len(batch) for batch in model.batches] == [1, 50, 40]

    def test_a_model_that_drops_rows_is_not_batched_any_more(self, model: Doubling) -> None:
        model.drops_negatives = True
        batcher = self.batcher(model)
        callers = meet(model, batcher, floats(1), floats(-1), floats(3))
        assert [caller.result for caller in callers] == [[200], [2], [], [6]]
        model.batches.clear()
        meet(model, batcher, floats(1), floats(2))
        assert sorted(model.batches) == [[1], [2], [100]]

    def test_a_batch_out_of_time_is_not_run_again(self, model: Doubling) -> None:
        model.out_of_time = True
        callers = meet(model, self.batcher(model), floats(1), floats(2))
        assert all(isinstance(caller.error, DeadlineExceeded) for caller in callers)
        assert model.batches == [[100], [1, 2]]

    def test_a_full_queue_refuses(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model, max_waiting=1), floats(1), floats(2))
        assert [caller.result for caller in callers] == [[200], [2], []]
        assert isinstance(callers[2].error, Unavailable)
        assert "The batch scheduling queue to which this task was submitted is full" in callers[2].error.message

    def test_a_request_out_of_time_gives_up_its_place(self, model: Doubling) -> None:
        batcher = self.batcher(model, wait_seconds=0.05)
        model.go_on.clear()
        first = Caller(lambda: batcher.run("double", floats(100)))
        wait_for(lambda: model.batches, "the first request runs")
        with pytest.raises(DeadlineExceeded, match="Timed out waiting for notification"):
            batcher.run("double", floats(1))
        model.go_on.set()
        first.join(30)
        assert batcher.run("double", floats(2))["y"].tolist() == [4]
        assert model.batches == [[100], [2]]

    def test_signatures_that_cannot_be_joined_run_as_they_are(self, model: Doubling) -> None:
        batcher = self.batcher(model)
        model.go_on.clear()
        callers = [Caller(lambda: batcher.run("other", floats(1))) for _ in range(3)]
        wait_for(lambda: len(model.batches) == 3, "all three run at once")
        model.go_on.set()
        for caller in callers:
            caller.join(30)
        assert [caller.result for caller in callers] == [[2]] * 3

    def test_quick_signatures_are_not_joined(self, model: Doubling) -> None:
        batcher = Batcher(model, {"double": Profile("", quick=True)}, BatchLimits(), "m")
        callers = meet(model, batcher, floats(1), floats(2))
        assert sorted(model.batches) == [[1], [2], [100]]
        assert [caller.result for caller in callers] == [[200], [2], [4]]

    def test_every_answer_belongs_to_its_request(self, model: Doubling) -> None:
        batcher = self.batcher(model, max_rows=8)
        wrong: list[float] = []

        def call(start: int) -> None:
            wrong.extend(
                number
                for number in range(start, start + 500)
                if batcher.run("double", floats(number))["y"].tolist() != [2 * number]
            )

        threads = [threading.Thread(target=call, args=(1000 * worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []

    @pytest.mark.parametrize(
        ("default", "other", "quick"),
        [(True, True, True), (True, None, True), (True, False, False), (False, True, False), (None, True, False)],
    )
    def test_a_model_is_quick_when_no_signature_is_known_to_be_slow(
        self, model: Doubling, default: bool | None, other: bool | None, quick: bool
    ) -> None:
        profiles = {"serving_default": Profile("", default), "other": Profile("", other)}
        assert Batcher(model, profiles, BatchLimits(), "m").is_quick is quick

    def test_a_quick_model_whose_run_takes_long_is_quick_no_more(self, model: Doubling) -> None:
        told: list[str] = []
        looks = iter([0.0, 0.001, 1.0, 2.0])
        batcher = Batcher(
            model,
            {"serving_default": Profile("", True)},
            BatchLimits(),
            "m",
            lambda: told.append("slow"),
            looks.__next__,
        )
        batcher.run("serving_default", floats(1))
        assert batcher.is_quick
        batcher.run("serving_default", floats(1))
        assert not batcher.is_quick
        assert told == ["slow"]

    def test_closing_closes_the_model(self, model: Doubling) -> None:
        self.batcher(model).close()
        assert model.batches == [[]]
