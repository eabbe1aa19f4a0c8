"""A trial of each signature when it is loaded: may its requests run together, and is it quick?

Rows may run together when a batch of different rows gives what each of them gives alone. Signatures that change or draw
something are not tried, since a trial would change it too. How fast batches of which sizes are is measured in speed.py.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from serving.models.nature import Nature
from serving.models.servable import Servable
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.models.speed import MEASURE_SECONDS, Run, fastest_seconds, measure_sizes
from serving.tensors.spec import Array, Kind, TensorSpec

QUICK_SECONDS = 0.0002
"""A run of one row that takes less is over sooner than it could be handed to another thread and back."""
NEARLY_QUICK_SECONDS = 0.001
"""A run that takes less when it is handed to TensorFlow's threads may be quick without."""
SLOW_SECONDS = 0.3
"""A signature of which one row takes longer, also the second time, is not tried any further."""
LOOP_SECONDS = 1.0
"""When the run of a signature that may loop is stopped."""
ROWS = 4
"""Rows that are run together and alone."""
RUNS = 5
"""Runs of one row of which the fastest counts, at least."""
ROW_SECONDS = 0.01
"""More are run in this time, at most MORE_RUNS: what a quick run takes is disturbed most by what else runs."""
MORE_RUNS = 100

_TOLERANCE = {"float16": 2e-2, "bfloat16": 5e-2, "float32": 1e-4, "float64": 1e-9}
"""By how much, relative to the largest value, outputs of a dtype may differ; others must be equal."""

TRIAL_SECONDS = 1.5
"""How much longer a start may take for trials; signatures whose turn has not come by then are not tried."""


@dataclass(frozen=True)
class Profile:
    """What a trial has shown of a signature: why it cannot be batched, and whether it is quick.

    `obstacle` is "" when it can be batched, `unproven` that nothing was shown against it either; `quick` is None where
    that is not known. `seconds` are those of a run by its rows, for the sizes that were measured.
    """

    obstacle: str
    quick: bool | None
    unproven: bool = False
    seconds: Mapping[int, float] = field(default_factory=dict)


def try_signatures(
    servable: Servable, sizes: Sequence[int] = (), clock: Callable[[], float] = time.perf_counter
) -> dict[str, Profile]:
    """Try the signatures of a model, the default one first; `sizes` are those that its batches will have, if known."""
    ends = clock() + TRIAL_SECONDS
    names = sorted(servable.signatures, key=lambda name: (name != DEFAULT_SIGNATURE, name))
    return {
        name: try_signature(
            servable.signatures[name],
            servable.natures[name],
            partial(_runner, servable, name),
            clock,
            sizes,
            ends,
            partial(servable.runner_here, name),
        )
        if clock() < ends
        else Profile("the start would have taken too long", _quick_by_looks(servable.natures[name]), unproven=True)
        for name in names
    }


def _runner(servable: Servable, name: str) -> Run:
    """The default signature as later requests run it, any other apart, since it may never be called."""
    nature = servable.natures[name]
    if name == DEFAULT_SIGNATURE and not nature.loops:
        return partial(servable.run, name)
    return servable.runner(name, LOOP_SECONDS if nature.loops else TRIAL_SECONDS)


def try_signature(
    signature: Signature,
    nature: Nature,
    runner: Callable[[], Run],
    clock: Callable[[], float],
    sizes: Sequence[int] = (),
    ends: float = math.inf,
    runner_here: Callable[[], Run] | None = None,
) -> Profile:
    """Try a signature by calling what `runner` makes with made-up rows, until the clock shows `ends`.

    What `runner_here` makes runs in the thread that calls it, as a quick model's runs do later.
    """
    quick = _quick_by_looks(nature)
    obstacle = obstacle_by_looks(signature, nature)
    if obstacle:
        return Profile(obstacle, quick)
    rows = {name: made_up_rows(spec, ROWS) for name, spec in signature.inputs.items()}
    try:
        run = runner()
        row_seconds = fastest_seconds(run, _row(rows, 0), 2, clock)
        if row_seconds > SLOW_SECONDS:
            return Profile("a row takes too long to be tried", quick=False, unproven=True)
        together = run(rows)
        alone = [run(_row(rows, number)) for number in range(ROWS)]
        may_be_quick = not nature.loops and _work_follows_rows(signature)
        run_here = runner_here() if may_be_quick and runner_here and row_seconds < NEARLY_QUICK_SECONDS else run
        runs = max(RUNS, round(ROW_SECONDS / max(row_seconds, ROW_SECONDS / MORE_RUNS)))
        quick = fastest_seconds(run_here, _row(rows, 0), runs, clock) < QUICK_SECONDS and may_be_quick
    except Exception as error:  # whatever made-up rows do to a model, it was loaded and may serve
        return Profile(f"a trial with made-up rows failed: {error}", quick, unproven=True)
    obstacle = difference(together, alone)
    if obstacle:
        return Profile(obstacle, quick)
    ends = min(ends, clock() + MEASURE_SECONDS)
    return Profile("", quick, seconds=measure_sizes(run_here if quick else run, rows, sizes, clock, ends))


def _quick_by_looks(nature: Nature) -> bool | None:
    """What can be said of a signature that is not tried: one that may loop is not quick."""
    return False if nature.loops else None


def obstacle_by_looks(signature: Signature, nature: Nature) -> str:
    """Why a signature is not even tried; "" when it is."""
    if nature.impure:
        return f"it is not pure: it runs {nature.impure}"
    if not signature.inputs:
        return "it has no inputs"
    if nature.spatial and any(spec.shape is None for spec in signature.inputs.values()):
        return "it computes convolutions of inputs whose rank is not stated"
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for name, spec in specs.items():
            if spec.dtype is None:
                return f'{kind} "{name}" is of a type that does not travel'
            if spec.shape is not None and (not spec.shape or spec.shape[0] is not None):
                return f'{kind} "{name}" has shape {spec.shape_text()}, without a variable dimension 0'
    return ""


def _work_follows_rows(signature: Signature) -> bool:
    """Whether only the number of rows varies, so that a small request cannot ask for much more than the trial did."""
    shapes = [spec.shape for spec in (*signature.inputs.values(), *signature.outputs.values())]
    return all(shape is not None and None not in shape[1:] for shape in shapes)


def made_up_rows(spec: TensorSpec, rows: int) -> Array:
    """So many rows for an input: numbers around 0, small integers, texts of different lengths."""
    assert spec.dtype is not None
    shape = (rows, *(size or 1 for size in (spec.shape or (None,))[1:]))
    draw = np.random.default_rng(0)
    if spec.dtype.kind is Kind.STRING:
        texts = np.empty(shape, dtype=object)
        for row in range(rows):
            texts[row] = b" ".join([b"word"] * (row + 1))
        return texts
    if spec.dtype.kind is Kind.DECIMAL:
        return draw.standard_normal(shape).astype(spec.dtype.numpy)
    return draw.integers(0, 2, shape).astype(spec.dtype.numpy)


def difference(together: Mapping[str, Array], alone: list[Mapping[str, Array]], tolerance: float = 1.0) -> str:
    """How a batch differs from its rows alone by more than this part of what it may; "" when it does not."""
    for name, whole in together.items():
        parts = [outputs[name] for outputs in alone]
        if whole.ndim == 0 or len(whole) != len(alone) or any(part.shape != (1, *whole.shape[1:]) for part in parts):
            return f'output "{name}" does not have a row for each row'
        if not _equal(whole, np.concatenate(parts), tolerance):
            return f'output "{name}" of a row depends on the rows beside it'
    return ""


def _equal(one: Array, other: Array, part: float) -> bool:
    if one.dtype.name not in _TOLERANCE:
        return bool(np.array_equal(one, other))
    tolerance = part * _TOLERANCE[one.dtype.name]
    one, other = one.astype(np.float64), other.astype(np.float64)
    finite = np.abs(other[np.isfinite(other)])
    return np.allclose(one, other, rtol=tolerance, atol=tolerance * finite.max(initial=0.0), equal_nan=True)


def are_quick(profiles: Mapping[str, Profile]) -> bool:
    """Whether a model is quick: its default signature is, and no other is known not to be."""
    default = profiles.get(DEFAULT_SIGNATURE)
    return default is not None and default.quick is True and all(its.quick is not False for its in profiles.values())


def _row(rows: Mapping[str, Array], number: int) -> dict[str, Array]:
    return {name: array[number : number + 1] for name, array in rows.items()}
