"""How a signature is batched: by what its trial has shown, its owner asked for and the latency allows."""

import pytest

from serving.models.limits import (
    DEFAULT_ROWS,
    LEAST_ROWS,
    BatchLimits,
    fastest_rows,
    plan,
    rows_within,
    sizes_asked,
)
from serving.models.parameters import NOTHING_ASKED, BatchingParameters
from serving.models.speed import SIZES
from serving.models.trial import Profile

GROWING_TO_16 = {1: 1.0, 2: 1.1, 4: 1.3, 8: 2.0, 16: 3.0, 32: 6.0, 64: 12.0}


def limits(profile: Profile, asked: BatchingParameters = NOTHING_ASKED, target: float = 0.0) -> BatchLimits:
    its = plan(profile, asked, target).limits
    assert its is not None
    return its


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        ({}, DEFAULT_ROWS),
        (GROWING_TO_16, 16),
        ({1: 1.0, 2: 2.0, 4: 4.1}, LEAST_ROWS),
        ({1: 1.0, 2: 1.5}, DEFAULT_ROWS),
        ({1: 1.0, 128: 10.0, 256: 15.0}, 256),
        ({16: 1.0, 32: 1.85, 64: 4.0}, 16),
    ],
    ids=["unknown", "stops growing", "never grows", "cut short", "grows to the end", "hardly grows"],
)
def test_the_limit_is_where_throughput_stops_growing(seconds: dict[int, float], rows: int) -> None:
    assert fastest_rows(seconds) == rows


@pytest.mark.parametrize(("target", "rows"), [(0.5, 1), (1.0, 1), (1.1, 2), (2.5, 8), (100.0, 64)])
def test_only_sizes_that_were_measured_are_within_a_time(target: float, rows: int) -> None:
    assert rows_within(GROWING_TO_16, target) == rows


def test_a_run_takes_at_most_half_of_the_latency_target() -> None:
    profile = Profile("", quick=False, seconds=GROWING_TO_16)
    assert limits(profile, target=5.0).max_rows == 8
    assert limits(profile, BatchingParameters(max_batch_size=64), target=5.0).max_rows == 8
    assert plan(profile, NOTHING_ASKED, 2.0).reason == "the latency target leaves no time for more than one row"


@pytest.mark.parametrize("largest", [1.1, 1000.0])
def test_small_batches_do_not_mean_that_few_rows_may_wait(largest: float) -> None:
    its = limits(Profile("", quick=False, seconds={1: 1.0, 2: largest}))
    assert its.max_waiting_rows == 16 * DEFAULT_ROWS >= 16 * its.max_rows


def test_as_many_rows_may_wait_as_are_run_soon() -> None:
    profile = Profile("", quick=True, seconds={1: 0.0001, 256: 0.0002})
    assert limits(profile).max_waiting_rows == 128_000
    assert limits(profile, BatchingParameters(max_enqueued_batches=3)).max_waiting_rows == 768
    assert limits(profile, target=10.0).max_waiting_rows == 16 * 256


def test_the_owner_is_asked_before_the_trial() -> None:
    profile = Profile("", quick=False, seconds=GROWING_TO_16)
    asked = BatchingParameters(
        max_batch_size=48, batch_timeout_micros=2500, max_enqueued_batches=3, pad_variable_length_inputs=True
    )
    assert limits(profile, asked) == BatchLimits(48, 144, 0.0025, (), pad_lengths=True)


def test_allowed_sizes_end_at_the_limit() -> None:
    profile = Profile("", quick=False, seconds={4: 1.0, 8: 2.0, 100: 9.0})
    asked = BatchingParameters(allowed_batch_sizes=(4, 8, 100))
    assert limits(profile, asked).allowed_sizes == (4, 8, 100)
    assert limits(profile, asked).max_rows == 100
    assert limits(profile, asked, target=4.0) == BatchLimits(8, 128, allowed_sizes=(4, 8))


def test_batches_are_padded_to_the_next_allowed_size() -> None:
    its = BatchLimits(8, allowed_sizes=(2, 8))
    assert [its.padded(rows) for rows in (1, 2, 3, 8, 9)] == [2, 2, 8, 8, 9]
    assert BatchLimits(8).padded(3) == 3


def test_with_splitting_batches_have_the_execution_size() -> None:
    asked = BatchingParameters(
        max_batch_size=100, enable_large_batch_splitting=True, max_execution_batch_size=20, for_model=True
    )
    its = limits(Profile("", quick=False), asked)
    assert (its.max_rows, its.splits) == (20, True)
    without = BatchingParameters(max_batch_size=100, max_execution_batch_size=20)
    assert limits(Profile("", quick=False), without).max_rows == 100


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        ({}, DEFAULT_ROWS),
        ({1: 0.0001}, 10),
        ({1: 0.0001, 100: 0.0002}, 900),
        ({1: 0.0001, 2: 0.0009, 100: 0.0002}, 900),
        ({1: 0.0012, 2: 0.0001, 100: 0.0002}, 900),
        ({1: 0.0001, 50: 0.0001, 100: 0.004}, 450),
        ({1: 0.0001, 100: 0.0001}, 3600),
        ({1: 0.0001, 100: 0.002}, 47),
        ({1: 0.00019, 2: 0.004}, 4),
        ({1: 0.0012}, 2),
        ({1: 0.0012, 2: 0.0013}, 2),
    ],
    ids=[
        "unknown",
        "one size",
        "grows",
        "disturbed in the midst",
        "disturbed at first",
        "disturbed at last",
        "does not grow",
        "grows beyond",
        "grows at once",
        "one size, disturbed",
        "all disturbed",
    ],
)
def test_an_event_loop_runs_as_many_rows_as_take_a_millisecond(seconds: dict[int, float], rows: int) -> None:
    assert limits(Profile("", quick=True, seconds=seconds)).loop_rows == rows
    assert limits(Profile("", quick=False, seconds=seconds)).loop_rows == 0


@pytest.mark.parametrize(("row_seconds", "rows"), [(0.0001, 10), (0.00001, DEFAULT_ROWS)])
def test_the_batches_of_a_quick_model_take_a_millisecond_at_most(row_seconds: float, rows: int) -> None:
    assert limits(Profile("", quick=True, seconds={1: row_seconds})).max_rows == rows


@pytest.mark.parametrize(
    ("profile", "for_model", "reason"),
    [
        (Profile("it is not pure", quick=False), True, "it is not pure"),
        (Profile("a trial failed", quick=None, unproven=True), False, "a trial failed"),
        (Profile("a trial failed", quick=None, unproven=True), True, ""),
        (Profile("", quick=True), False, ""),
        (Profile("", quick=True), True, ""),
    ],
)
def test_the_models_own_file_counts_where_the_trial_shows_nothing_against_it(
    profile: Profile, for_model: bool, reason: str
) -> None:
    its = plan(profile, BatchingParameters(max_batch_size=4, for_model=for_model))
    assert its.reason == reason
    assert (its.limits is None) is bool(reason)


@pytest.mark.parametrize("asked", [BatchingParameters(max_batch_size=1), BatchingParameters(allowed_batch_sizes=(1,))])
def test_a_largest_batch_of_one_row_switches_batching_off(asked: BatchingParameters) -> None:
    its = plan(Profile("", quick=False), asked)
    assert its.limits is None
    assert its.reason == "its batching parameters allow one row only"


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        (NOTHING_ASKED, ()),
        (BatchingParameters(batch_timeout_micros=1), ()),
        (BatchingParameters(for_model=True), SIZES),
        (BatchingParameters(max_batch_size=5), (1, 2, 4, 5)),
        (BatchingParameters(max_batch_size=9, allowed_batch_sizes=(3, 9)), (3, 9)),
    ],
)
def test_the_sizes_that_will_be_used_are_tried(asked: BatchingParameters, sizes: tuple[int, ...]) -> None:
    assert sizes_asked(asked) == sizes
