"""Rows joined, filled up and parted again: pure functions of tensors by name.

A row is an index of dimension 0. What goes in as the rows of several requests comes out as the rows of the same ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from serving.tensors.spec import Array

Tensors = Mapping[str, Array]
Key = tuple[Any, ...]


def row_count(inputs: Tensors) -> int | None:
    """The size of dimension 0 that all inputs share; None where they do not, or have none."""
    sizes = {len(array) if array.ndim else None for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else None


def batch_key(signature: str, inputs: Tensors, pad_lengths: bool = False) -> Key:
    """What requests must agree on to run together; with `pad_lengths` the sizes behind dimension 0 may differ."""
    return (signature, *[(name, _form(array, pad_lengths), array.dtype.num) for name, array in sorted(inputs.items())])


def _form(array: Array, pad_lengths: bool) -> Any:
    """The sizes that count; of an array without any element all do, for there is nothing to fill it up with."""
    return array.ndim if pad_lengths and array.size else array.shape[1:]


def merge(parts: Sequence[Tensors]) -> Tensors:
    """The rows of all parts, in their order. The parts have equal keys; lengths that differ are filled up."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate(_equally_long([part[name] for part in parts])) for name in parts[0]}


def _equally_long(arrays: list[Array]) -> list[Array]:
    """Arrays of one rank, each filled up behind dimension 0 to the largest size, with its own first element."""
    if len({array.shape[1:] for array in arrays}) == 1:
        return arrays
    sizes = tuple(map(max, *(array.shape[1:] for array in arrays)))
    return [_filled(array, (len(array), *sizes)) for array in arrays]


def _filled(array: Array, shape: tuple[int, ...]) -> Array:
    filled = np.full(shape, array.flat[0], array.dtype)
    filled[tuple(map(slice, array.shape))] = array
    return filled


def pad(inputs: Tensors, rows: int) -> Tensors:
    """So many rows: those there are, then repetitions of the last one, which is known to be valid."""
    if all(len(array) == rows for array in inputs.values()):
        return inputs
    return {name: np.concatenate([array, *[array[-1:]] * (rows - len(array))]) for name, array in inputs.items()}


def part(outputs: Tensors, counts: Sequence[int], rows: int) -> list[dict[str, Array]] | None:
    """The outputs of a run of `rows` rows, parted by the numbers of rows of its requests; what is over is left out.

    None when the outputs do not have a row for each row.
    """
    if any(array.ndim == 0 or len(array) != rows for array in outputs.values()):
        return None
    ends = np.cumsum(counts)
    return [
        {name: array[end - count : end] for name, array in outputs.items()}
        for end, count in zip(ends, counts, strict=True)
    ]


def slices(inputs: Tensors, rows: int, limit: int) -> Iterator[Tensors]:
    """The inputs, which have so many rows, in slices of at most `limit` rows."""
    for start in range(0, rows, limit):
        yield {name: array[start : start + limit] for name, array in inputs.items()}


def join(parts: Sequence[Tensors], rows: int) -> dict[str, Array] | None:
    """The outputs of slices of a request as those of all its rows; None when they do not fit together."""
    names = parts[0].keys()
    shapes = [{part[name].shape[1:] if part[name].ndim else None for part in parts} for name in names]
    if any(len(its) != 1 or None in its for its in shapes):
        return None
    whole = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return whole if all(len(array) == rows for array in whole.values()) else None
