"""Trials of signatures: may rows run together, and is a run quick?"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import InvalidArgument
from serving.models.nature import Nature
from serving.models.runtime import choose_device, session_config
from serving.models.servable import Servable
from serving.models.signature import Signature
from serving.models.speed import MEASURE_SECONDS
from serving.models.trial import NEARLY_QUICK_SECONDS, QUICK_SECONDS, Profile, are_quick, try_signature, try_signatures
from serving.tensors.spec import Array, TensorSpec
from tests import saved_models
from tests.fakes import FakeClock

PURE = Nature(impure="", loops=False)
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


def signature(shape: tuple[int | None, ...] | None = (None, 2), proto: str = "DT_FLOAT") -> Signature:
    return Signature("s", {"x": TensorSpec("x", proto, shape)}, {"y": TensorSpec("y", proto, (None, 2))}, "")


def clock_of(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so much at each look."""
    looks = iter(range(10**6))
    return lambda: next(looks) * seconds


def trial(run: Run, nature: Nature = PURE, seconds: float = 0.01, its: Signature | None = None) -> Profile:
    return try_signature(its or signature(), nature, lambda: run, clock_of(seconds))


def double(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {"y": inputs["x"] * 2}


@pytest.mark.parametrize("proto", ["DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16", "DT_INT64", "DT_BOOL"])
def test_rows_that_do_not_know_of_each_other_may_run_together(proto: str) -> None:
    assert not trial(lambda inputs: {"y": inputs["x"]}, its=signature(proto=proto)).obstacle


def test_strings_may_run_together_too() -> None:
    assert not trial(lambda inputs: {"y": inputs["x"]}, its=signature((None,), "DT_STRING")).obstacle


@pytest.mark.parametrize(
    ("run", "obstacle"),
    [
        (lambda inputs: {"y": inputs["x"] - inputs["x"].mean()}, 'output "y" of a row depends on the rows beside it'),
        (lambda inputs: {"y": inputs["x"].sum()}, 'output "y" does not have a row for each row'),
        (lambda inputs: {"y": inputs["x"][:1]}, 'output "y" does not have a row for each row'),
        (lambda inputs: {"y": inputs["x"].ravel()}, 'output "y" does not have a row for each row'),
    ],
)
def test_rows_that_depend_on_each_other_run_alone(run: Run, obstacle: str) -> None:
    assert trial(run).obstacle == obstacle


def test_rounding_makes_no_difference() -> None:
    assert not trial(lambda inputs: {"y": inputs["x"] * (1 + 1e-7 * len(inputs["x"]))}).obstacle


@pytest.mark.parametrize(
    ("its", "obstacle"),
    [
        (signature(()), 'input "x" has shape [], without a variable dimension 0'),
        (signature((4, 2)), 'input "x" has shape [4,2], without a variable dimension 0'),
        (signature(proto="DT_RESOURCE"), 'input "x" is of a type that does not travel'),
        (Signature("s", {}, {}, ""), "it has no inputs"),
    ],
)
def test_some_signatures_need_no_trial(its: Signature, obstacle: str) -> None:
    assert trial(double, its=its).obstacle == obstacle


def test_a_signature_that_changes_something_is_never_run() -> None:
    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise AssertionError("run")

    assert (
        trial(run, Nature("AssignAddVariableOp", loops=False)).obstacle == "it is not pure: it runs AssignAddVariableOp"
    )


def test_a_signature_that_refuses_made_up_rows_runs_alone() -> None:
    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise InvalidArgument("no such word")

    assert trial(run) == Profile("a trial with made-up rows failed: no such word", quick=None, unproven=True)


@pytest.mark.parametrize(
    ("seconds", "nature", "quick"),
    [
        (2 * QUICK_SECONDS, PURE, True),
        (2 * NEARLY_QUICK_SECONDS, PURE, False),
        (2 * QUICK_SECONDS, Nature("", loops=True), False),
    ],
)
def test_what_may_be_quick_is_measured_without_a_hand_over(seconds: float, nature: Nature, quick: bool) -> None:
    clock = FakeClock()

    def taking(seconds: float) -> Run:
        def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
            clock.pass_by(seconds)
            return double(inputs)

        return run

    here = taking(QUICK_SECONDS / 2)
    profile = try_signature(signature(), nature, lambda: taking(seconds), clock, runner_here=lambda: here)
    assert profile.quick is quick
    assert profile.seconds[1] == pytest.approx(QUICK_SECONDS / 2 if quick else seconds)


@pytest.mark.parametrize(("seconds", "quick"), [(QUICK_SECONDS / 2, True), (QUICK_SECONDS * 2, False)])
def test_a_short_run_is_quick(seconds: float, quick: bool) -> None:
    assert trial(double, seconds=seconds).quick is quick


def test_a_slow_signature_is_not_tried_further() -> None:
    runs: list[int] = []

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        runs.append(len(inputs["x"]))
        return double(inputs)

    assert trial(run, seconds=10).obstacle == "a row takes too long to be tried"
    assert runs == [1, 1]


@pytest.mark.parametrize("shape", [None, (None, None), (None, 2, None)])
def test_what_a_small_request_can_make_large_is_not_quick(shape: tuple[int | None, ...] | None) -> None:
    its = Signature("s", {"x": TensorSpec("x", "DT_FLOAT", (None, 2))}, {"y": TensorSpec("y", "DT_FLOAT", shape)}, "")
    assert trial(double, seconds=0, its=its).quick is False


@pytest.mark.parametrize(
    ("default", "other", "quick"),
    [(True, True, True), (True, None, True), (True, False, False), (False, True, False), (None, True, False)],
)
def test_a_model_is_quick_when_no_signature_is_known_to_be_slow(
    default: bool | None, other: bool | None, quick: bool
) -> None:
    assert are_quick({"serving_default": Profile("", default), "other": Profile("", other)}) is quick


def test_texts_that_are_padded_to_the_longest_run_alone() -> None:
    def pad(inputs: Mapping[str, Array]) -> dict[str, Array]:
        width = max(map(len, inputs["x"]))
        return {"y": np.array([[len(text) / width] for text in inputs["x"]])}

    assert trial(pad, its=signature((None,), "DT_STRING")).obstacle


def test_what_may_loop_is_not_quick() -> None:
    assert trial(double, Nature("", loops=True), seconds=0).quick is False


class TestMeasuring:
    """Runs that take as many seconds as `seconds_of` says of their rows, on a clock of their own."""

    def measure(
        self, seconds_of: Callable[[int], float], sizes: tuple[int, ...] = (), ends: float = 1e9
    ) -> tuple[dict[int, float], list[int]]:
        clock, runs = FakeClock(), list[int]()

        def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
            runs.append(len(inputs["x"]))
            clock.pass_by(seconds_of(len(inputs["x"])))
            return double(inputs)

        profile = try_signature(signature(), PURE, lambda: run, clock, sizes, ends)
        return dict(profile.seconds), runs

    def test_larger_batches_are_measured_until_they_are_no_faster_a_row(self) -> None:
        seconds, _ = self.measure(lambda rows: 0.001 * max(1, rows / 4))
        assert seconds == pytest.approx({1: 0.001, 2: 0.001, 4: 0.001, 8: 0.002, 16: 0.004})

    def test_sizes_that_are_asked_for_are_all_measured_which_warms_them_up(self) -> None:
        seconds, runs = self.measure(lambda rows: 0.001 * rows, sizes=(1, 5, 10))
        assert list(seconds) == [1, 5, 10]
        assert runs.count(10) > 1

    def test_what_would_take_too_long_is_not_measured(self) -> None:
        seconds, runs = self.measure(lambda rows: 0.05 + 0.01 * rows)
        assert max(seconds) < 16
        assert sum(0.05 + 0.01 * rows for rows in runs[-3 * len(seconds) :]) < MEASURE_SECONDS

    def test_nothing_is_measured_when_the_time_is_up(self) -> None:
        seconds, _ = self.measure(lambda rows: 0.01, ends=0.01)
        assert seconds == {}

    def test_a_size_that_fails_ends_it(self) -> None:
        def seconds_of(rows: int) -> float:
            if rows > 8:
                raise InvalidArgument("out of memory")
            return 0.001

        assert list(self.measure(seconds_of)[0]) == [1, 2, 4, 8]


class TestOfSavedModels:
    @pytest.mark.parametrize(
        ("factory", "obstacle"),
        [
            (saved_models.half_plus_two, ""),
            (saved_models.mlp, ""),
            (saved_models.several_inputs, ""),
            (saved_models.vocabulary, ""),
            (saved_models.batch_dependent, 'output "y" of a row depends on the rows beside it'),
            (saved_models.fixed_batch, 'input "x" has shape [4,2], without a variable dimension 0'),
            (saved_models.no_batch, 'input "x" has shape [], without a variable dimension 0'),
        ],
    )
    def test_a_model_is_batched_where_that_changes_nothing(
        self, factory: Callable[[Path], None], obstacle: str, tmp_path: Path
    ) -> None:
        profile = self.profiles(factory, tmp_path)["serving_default"]
        assert profile.obstacle == obstacle

    def test_a_counter_is_not_counted_up_by_a_trial(self, tmp_path: Path) -> None:
        profiles = self.profiles(saved_models.counter, tmp_path)
        assert profiles["increment"].obstacle == "it is not pure: it runs AssignAdd"

    def test_an_endless_loop_is_known_not_to_be_quick(self, tmp_path: Path) -> None:
        profile = self.profiles(saved_models.endless, tmp_path)["serving_default"]
        assert profile.quick is False
        assert profile.obstacle.startswith("a trial with made-up rows failed: Timed out waiting for notification")

    def test_no_signature_is_tried_when_the_time_is_up(self, tmp_path: Path) -> None:
        profiles = self.profiles(saved_models.mlp, tmp_path, clock=clock_of(10.0))
        assert profiles["serving_default"].obstacle == "the start would have taken too long"

    def profiles(self, factory: Callable[[Path], None], path: Path, **clock: Any) -> dict[str, Profile]:
        factory(path / "1")
        servable = Servable(path / "1", session_config(choose_device([], 0), 1), 30.0)
        try:
            return try_signatures(servable, **clock)
        finally:
            servable.close()


def test_made_up_rows_differ_so_that_a_mix_up_would_show() -> None:
    seen: list[np.ndarray[Any, Any]] = []

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        seen.append(inputs["x"])
        return {"y": inputs["x"]}

    trial(run)
    assert len(np.unique(seen[0], axis=0)) == len(seen[0])
