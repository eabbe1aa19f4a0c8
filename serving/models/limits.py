"""How the requests to a signature are batched: what its trial has shown, its owner asked for and the latency allows.

Pure decisions. The owner's word comes first, but never against what the trial has shown: rows that depend on each other
are not joined, whoever asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.models.parameters import BatchingParameters
from serving.models.speed import SIZES
from serving.models.trial import Profile

DEFAULT_ROWS = 64
"""The limit of a signature whose trial has not shown where rows together stop being faster."""
LEAST_ROWS = 8
"""A lower limit is never chosen for the sake of throughput: with so few rows a run is short anyway."""
WAITING_BATCHES = 16
WAITING_SECONDS = 0.1
"""Batches' worth of rows that may wait, or as many as run in this time if those are more; more are refused."""
GOOD_ENOUGH = 0.9
"""The share of the best throughput that a smaller batch must reach to be preferred to the larger one."""
LOOP_SECONDS = 0.001
"""How long a batch may take in an event loop, where the batches of quick models run."""
TARGET_SHARE = 0.5
"""How much of the latency target a run may take: a request may have to wait for one run before its own."""


@dataclass(frozen=True)
class BatchLimits:
    """How the requests to one signature are joined. Sizes are in rows."""

    max_rows: int = DEFAULT_ROWS
    max_waiting_rows: int = WAITING_BATCHES * DEFAULT_ROWS
    delay_seconds: float = 0.0
    """How long a request that finds the model idle waits for others, while they are fewer than `max_rows`."""
    allowed_sizes: tuple[int, ...] = ()
    """The sizes that batches are padded to, ascending; none when any size will do."""
    pad_lengths: bool = False
    """Whether inputs of different lengths run together, filled up to the longest."""
    splits: bool = False
    """Whether larger requests run in slices."""
    loop_rows: int = 0
    """The most rows of one request, also of one that is too large to be joined, that an event loop may run."""

    def padded(self, rows: int) -> int:
        """The size that so many rows run in."""
        for size in self.allowed_sizes:
            if size >= rows:
                return size
        return rows

    def as_json(self) -> dict[str, Any]:
        return {
            "max_rows": self.max_rows,
            "max_waiting_rows": self.max_waiting_rows,
            "delay_ms": round(self.delay_seconds * 1000, 3),
            "allowed_sizes": self.allowed_sizes,
            "pad_lengths": self.pad_lengths,
            "splits": self.splits,
        }


@dataclass(frozen=True)
class Plan:
    """The limits of a signature that is batched, or why it is not; `obstacle` is that of its profile."""

    limits: BatchLimits | None
    reason: str = ""
    obstacle: str = ""

    def __str__(self) -> str:
        if self.limits is None:
            return f"is not batched: {self.reason}"
        return "is batched: " + ", ".join(f"{name} {value}" for name, value in self.limits.as_json().items() if value)


def sizes_asked(asked: BatchingParameters) -> tuple[int, ...]:
    """The sizes that the batches will have, as far as the owner says; () leaves the trial to find them."""
    if asked.allowed_batch_sizes:
        return asked.allowed_batch_sizes
    largest = _asked_rows(asked)
    if largest is not None:
        return (*(size for size in SIZES if size < largest), largest)
    return SIZES if asked.for_model else ()


def plan(profile: Profile, asked: BatchingParameters, target_seconds: float = 0.0) -> Plan:
    """How to batch a signature; `target_seconds` is the latency to keep to, 0 for none."""
    reason = _reason(profile, asked)
    if reason:
        return Plan(None, reason, profile.obstacle)
    max_rows = _max_rows(profile.seconds, asked, target_seconds * TARGET_SHARE)
    if profile.quick and not asked.for_model:
        max_rows = min(max_rows, rows_in_loop(profile.seconds))
    if max_rows < 2:
        return Plan(None, "the latency target leaves no time for more than one row", profile.obstacle)
    limits = BatchLimits(
        max_rows,
        _waiting_rows(max_rows, profile.seconds, asked, target_seconds),
        asked.batch_timeout_micros / 1e6,
        tuple(size for size in asked.allowed_batch_sizes if size <= max_rows),
        asked.pad_variable_length_inputs,
        asked.enable_large_batch_splitting,
        loop_rows=rows_in_loop(profile.seconds) if profile.quick else 0,
    )
    return Plan(limits, obstacle=profile.obstacle)


def _reason(profile: Profile, asked: BatchingParameters) -> str:
    if _asked_rows(asked) == 1:
        return "its batching parameters allow one row only"
    if profile.obstacle and not (profile.unproven and asked.for_model):
        return profile.obstacle
    return ""


def _waiting_rows(max_rows: int, seconds: Mapping[int, float], asked: BatchingParameters, target_seconds: float) -> int:
    """How many rows may wait; where no time was asked for, no fewer because small batches were found best."""
    if asked.max_enqueued_batches or target_seconds:
        return (asked.max_enqueued_batches or WAITING_BATCHES) * max_rows
    of_a_row = min((its / rows for rows, its in seconds.items()), default=WAITING_SECONDS)
    return max(WAITING_BATCHES * max(max_rows, DEFAULT_ROWS), round(WAITING_SECONDS / of_a_row))


def _max_rows(seconds: Mapping[int, float], asked: BatchingParameters, target_seconds: float) -> int:
    rows = _asked_rows(asked) or fastest_rows(seconds)
    if target_seconds and seconds:
        rows = min(rows, rows_within(seconds, target_seconds))
    return max((size for size in asked.allowed_batch_sizes if size <= rows), default=rows)


def _asked_rows(asked: BatchingParameters) -> int | None:
    largest = asked.max_batch_size or max(asked.allowed_batch_sizes, default=None)
    return asked.max_execution_batch_size or largest if asked.enable_large_batch_splitting else largest


def fastest_rows(seconds: Mapping[int, float]) -> int:
    """The smallest batch that computes nearly as many rows a second as any, given the seconds of a run by its rows."""
    if not seconds:
        return DEFAULT_ROWS
    of_a_row = {rows: its / rows for rows, its in sorted(seconds.items())}
    best = min(of_a_row.values())
    good = next(rows for rows, its in of_a_row.items() if its * GOOD_ENOUGH <= best)
    if good == max(of_a_row):  # larger batches may be faster still
        return max(DEFAULT_ROWS, good)
    return max(LEAST_ROWS, good)


def rows_in_loop(seconds: Mapping[int, float]) -> int:
    """The most rows that an event loop may run at once, given the seconds of a run by its rows.

    A run takes as long as the shortest, and for each row as much more as one added on the way to the largest batch, or
    a quarter of what a row took in the best batch if that is more. Two at least, since a machine that is busy meanwhile
    may make a run look too long for any.
    """
    if not seconds:
        return DEFAULT_ROWS
    least, (most, longest) = min(seconds.values()), max(seconds.items())
    of_a_row = min(its / rows for rows, its in seconds.items())
    if len(seconds) == 1:
        return max(2, round(LOOP_SECONDS / of_a_row))
    more_of_a_row = max(min(of_a_row, (longest - least) / most), of_a_row / 4)
    return max(2, round((LOOP_SECONDS - least) / more_of_a_row))


def rows_within(seconds: Mapping[int, float], target_seconds: float) -> int:
    """The largest batch that was measured and takes no longer; 1 when there is none."""
    return max((rows for rows, its in seconds.items() if its <= target_seconds), default=1)
