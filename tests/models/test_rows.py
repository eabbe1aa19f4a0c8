"""Rows joined, filled up and parted: what goes in as the rows of a request comes out as the rows of the same one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.models.rows import batch_key, join, merge, pad, part, row_count, slices
from serving.tensors.spec import Array


def floats(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)}


def texts(*values: bytes) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@st.composite
def requests(draw: st.DrawFn) -> list[dict[str, Array]]:
    """Requests that may run together; no value occurs twice."""
    width = draw(st.integers(0, 3))
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    numbers = iter(range(10_000))
    made = []
    for count in counts:
        x = np.array([[next(numbers) for _ in range(width)] for _ in range(count)], np.int64).reshape(count, width)
        made.append({"x": x, "s": texts(*(str(next(numbers)).encode() for _ in range(count)))})
    return made


def same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape and one[name].tolist() == other[name].tolist() for name in one
    )


@given(requests(), st.integers(0, 10))
def test_each_caller_gets_exactly_its_rows(parts: list[dict[str, Array]], padding: int) -> None:
    counts = [len(its["x"]) for its in parts]
    rows = sum(counts) + padding
    padded = pad(merge(parts), rows)
    assert all(len(array) == rows for array in padded.values())
    parted = part(padded, counts, rows)
    assert parted is not None
    assert all(same(one, other) for one, other in zip(parts, parted, strict=True))


@given(requests(), st.integers(1, 7))
def test_slices_joined_are_the_whole(parts: list[dict[str, Array]], limit: int) -> None:
    whole = merge(parts)
    rows = len(whole["x"])
    sliced = list(slices(whole, rows, limit))
    assert all(len(piece["x"]) <= limit for piece in sliced)
    joined = join(sliced, rows)
    assert joined is not None
    assert same(joined, whole)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5))
def test_different_lengths_are_filled_up_with_the_first_element(shapes: list[tuple[int, int, int]]) -> None:
    parts = [{"x": np.arange(np.prod(shape)).reshape(shape) + 100 * n} for n, shape in enumerate(shapes, start=1)]
    merged = merge(parts)["x"]
    assert merged.shape == (sum(shape[0] for shape in shapes), *np.max(shapes, axis=0)[1:])
    start = 0
    for its in parts:
        rows, *sizes = its["x"].shape
        mine = merged[start : start + rows]
        start += rows
        inside = tuple(slice(size) for size in (rows, *sizes))
        assert (mine[inside] == its["x"]).all()
        outside = np.ones(mine.shape, bool)
        outside[inside] = False
        assert (mine[outside] == its["x"].flat[0]).all()


def test_padding_repeats_a_row_that_is_valid() -> None:
    assert pad(floats(1, 2), 4)["x"].tolist() == [1, 2, 2, 2]


def test_texts_are_joined_and_filled_up_too() -> None:
    merged = merge([{"s": texts(b"a").reshape(1, 1)}, {"s": texts(b"b\0", b"c").reshape(1, 2)}])
    assert merged["s"].tolist() == [[b"a", b"a"], [b"b\0", b"c"]]


@pytest.mark.parametrize("output", [np.zeros(5), np.zeros(7), np.float32(1)])
def test_outputs_that_are_not_row_by_row_cannot_be_parted(output: Any) -> None:
    assert part({"x": np.zeros(6), "y": output}, [2, 1, 3], 6) is None


@pytest.mark.parametrize(
    "parts",
    [
        [np.zeros((2, 3)), np.zeros((1, 2))],
        [np.zeros((2, 3)), np.zeros((2, 3))],
        [np.float32(1), np.float32(1)],
        [np.zeros(3), np.zeros((1, 2))],
    ],
)
def test_outputs_of_slices_that_do_not_fit_together_are_not_joined(parts: list[Any]) -> None:
    assert join([{"y": np.asarray(array)} for array in parts], 3) is None


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
def test_rows_are_counted_only_where_all_inputs_agree(inputs: Any, rows: int | None) -> None:
    assert row_count(inputs) == rows


@pytest.mark.parametrize(
    ("other", "joins", "joins_filled_up"),
    [
        ({"x": np.zeros((5, 2), np.float32)}, True, True),
        ({"x": np.zeros((1, 3), np.float32)}, False, True),
        ({"x": np.zeros((1, 0), np.float32)}, False, False),
        ({"x": np.zeros((1, 2), np.float64)}, False, False),
        ({"x": np.zeros((1, 2, 1), np.float32)}, False, False),
        ({"y": np.zeros((1, 2), np.float32)}, False, False),
    ],
)
def test_only_what_fits_together_joins(other: Mapping[str, Array], joins: bool, joins_filled_up: bool) -> None:
    one = {"x": np.zeros((1, 2), np.float32)}
    assert (batch_key("s", one) == batch_key("s", other)) is joins
    assert (batch_key("s", one, pad_lengths=True) == batch_key("s", other, pad_lengths=True)) is joins_filled_up
    assert batch_key("s", one) != batch_key("t", one)
