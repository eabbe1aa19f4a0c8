"""How long a run takes by its number of rows, measured when a model is loaded.

The runs also warm the model up: the first run of a size takes longer than those that follow.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving.tensors.spec import Array

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Rows of the batches that are measured, unless others are asked for."""
MEASURE_SECONDS = 0.5
"""How long the measuring of one signature may take."""
SIZE_RUNS = 3
"""Runs of each size: the first, which is slow, and those of which the fastest counts."""
GROWTH = 1.05
"""By how much a larger batch must be faster a row, once in two sizes, for larger ones to be measured."""
BATCH_BYTES = 64 * 1024 * 1024
"""Batches with larger inputs are not measured."""


def measure_sizes(
    run: Run,
    rows: Mapping[str, Array],
    sizes: Sequence[int],
    clock: Callable[[], float],
    ends: float,
) -> dict[int, float]:
    """How long a run takes by its rows, for ascending sizes, as long as the next one is likely to be over in time.

    Without sizes those of SIZES are measured, until larger batches are no faster a row than smaller ones.
    """
    measured: dict[int, float] = {}
    best, without_growth = math.inf, 0
    row_bytes = sum(array.nbytes for array in rows.values()) / len(next(iter(rows.values())))
    for size in sizes or SIZES:
        if size * row_bytes > BATCH_BYTES or clock() + _expected(measured, size) > ends:
            break
        batch = {name: np.resize(array, (size, *array.shape[1:])) for name, array in rows.items()}
        try:
            measured[size] = fastest_seconds(run, batch, SIZE_RUNS, clock)
        except Exception:  # such as out of memory: what is larger cannot be run either
            break
        row_seconds = measured[size] / size
        without_growth = 0 if row_seconds * GROWTH < best else without_growth + 1
        best = min(best, row_seconds)
        if not sizes and without_growth == 2:
            break
    return measured


def _expected(measured: Mapping[int, float], size: int) -> float:
    """How long the runs of a size are likely to take, the first of them twice as long as the others."""
    if not measured:
        return 0.0
    largest = max(measured)
    return (SIZE_RUNS + 1) * measured[largest] * max(1.0, size / largest)


def fastest_seconds(run: Run, inputs: Mapping[str, Array], runs: int, clock: Callable[[], float]) -> float:
    """How long the fastest of so many runs takes."""
    best = math.inf
    for _ in range(runs):
        started = clock()
        run(inputs)
        best = min(best, clock() - started)
    return best
