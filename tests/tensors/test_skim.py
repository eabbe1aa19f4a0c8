"""The fast way in, held against the careful one."""

import json
import math
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.tensors.decode import decode_tensor
from serving.tensors.parse import parse
from serving.tensors.skim import can_skim, skim
from serving.tensors.spec import DTYPES, Array, TensorSpec

NUMERIC = [name for name, dtype in DTYPES.items() if can_skim(dtype)]


def skimmed(text: str, dtype: str = "DT_FLOAT") -> Array | None:
    """What skimming makes of a text."""
    return skim(memoryview(text.encode()), DTYPES[dtype])


def careful(text: str, dtype: str) -> Array | None:
    """What the careful way makes of the tensor in it; None for an error."""
    try:
        return decode_tensor(parse(text.encode()), TensorSpec("x", dtype, None))
    except ServingError:
        return None


numbers = st.one_of(
    st.integers(-3, 300),
    st.integers(-(2**64), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e300, -1e300, 5e-324, 0.1, -0.0, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]),
)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """Nested lists of one shape, of which some are then made ragged or mistyped."""
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))

    def build(level: int) -> Any:
        return draw(numbers) if level == len(shape) else [build(level + 1) for _ in range(shape[level])]

    value = build(0)
    spoil = draw(st.sampled_from(["", "", "append", "replace"]))
    target = value
    while spoil and isinstance(target[-1], list) and draw(st.booleans()):
        target = target[-1]
    if spoil == "append":
        target.append(draw(st.one_of(numbers, st.just([1]), st.just([]))))
    elif spoil == "replace":
        target[-1] = draw(st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.just([[1]]), st.just({"a": 1})))
    return value


@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(value=tensors(), dtype=st.sampled_from(NUMERIC))
def test_what_is_skimmed_is_what_the_careful_way_reads(value: Any, dtype: str) -> None:
    text = json.dumps(value)
    fast = skimmed(text, dtype)
    if fast is not None:
        slow = careful(text, dtype)
        assert slow is not None
        assert fast.dtype == slow.dtype
        assert fast.shape == slow.shape
        assert fast.tobytes() == slow.tobytes()


@pytest.mark.parametrize("dtype", NUMERIC)
def test_plain_numbers_are_skimmed_for_every_numeric_dtype(dtype: str) -> None:
    array = skimmed("[[1, 2], [3, 4], [5, 6]]", dtype)
    assert array is not None
    assert array.dtype == DTYPES[dtype].numpy
    assert array.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    "text",
    [
        "[[1, 2], [3], [4, 5, 6]]",
        "[[[1, 2], [3, 4]], [[1, 2, 3], [4]]]",
        "[[1], 2]",
        "[1, [2]]",
        "[]",
        "[[], []]",
        "1",
        "{}",
        '{"a": 1}',
        '[{"a": 1}]',
        "[NaN]",
        "[1e999]",
        "[1,]",
        "[1",
        "[1] 2",
        '[1], "inputs": [2]',
        "[" * 65 + "1" + "]" * 65,
        "",
    ],
)
def test_what_is_unusual_is_left_to_the_careful_way(text: str) -> None:
    assert skimmed(text) is None


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ("[1.0]", "DT_INT32"),
        ("[1e2]", "DT_INT64"),
        ("[128]", "DT_INT8"),
        ("[-1]", "DT_UINT64"),
        ("[256]", "DT_UINT8"),
        ("[9223372036854775808]", "DT_INT64"),
        ("[true]", "DT_FLOAT"),
        ('["1"]', "DT_FLOAT"),
        ("[null]", "DT_FLOAT"),
    ],
)
def test_values_that_do_not_fit_the_dtype_are_left_to_the_careful_way(numbers: str, dtype: str) -> None:
    assert skimmed(numbers, dtype) is None


@pytest.mark.parametrize("dtype", ["DT_BOOL", "DT_STRING"])
def test_what_is_no_number_is_not_skimmed(dtype: str) -> None:
    assert not can_skim(DTYPES[dtype])
    assert not can_skim(None)


def test_texts_are_skimmed_by_several_threads_at_once() -> None:
    texts = [json.dumps([[number] * 1000] * 20) for number in range(32)]
    with ThreadPoolExecutor(8) as threads:
        arrays = list(threads.map(skimmed, texts * 4))
    for number, array in enumerate(arrays):
        assert np.array_equal(array, np.full((20, 1000), number % 32, np.float32))


def test_64_bit_integers_are_exact() -> None:
    array = skimmed("[9223372036854775807, -9223372036854775808, 9007199254740993]", "DT_INT64")
    assert array is not None
    assert array.tolist() == [9223372036854775807, -9223372036854775808, 9007199254740993]
    assert np.array_equal(skimmed("[18446744073709551615]", "DT_UINT64"), np.array([2**64 - 1], np.uint64))


@pytest.mark.parametrize(
    "text",
    [f"[[{'1,' * 10_000}1]{',[1]' * 10_000}]", f"[{'[' * 60}1{']' * 60}{',1' * 100_000}]"],
    ids=["one long row before many short ones", "one deep row before many flat ones"],
)
def test_lists_that_a_text_only_begins_with_are_not_built(text: str) -> None:
    tracemalloc.start()
    read = skimmed(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read is None
    assert peak < 20 * len(text), f"{peak} bytes for a text of {len(text)}"


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(SHAPES, st.sampled_from([(",", ":"), (", ", ": ")]), st.integers(16, 40), st.data())
def test_a_text_is_read_the_same_in_pieces_of_any_size(
    shape: list[int], separators: tuple[str, str], piece_bytes: int, data: st.DataObject
) -> None:
    values = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    text = json.dumps(values.tolist(), separators=separators)
    with patch("serving.tensors.skim.PIECE_BYTES", piece_bytes), patch("serving.tensors.skim.CAST_PIECES", 3):
        assert np.array_equal(skim(memoryview(text.encode()), DTYPES["DT_INT64"]), values)
        place = data.draw(st.integers(0, len(text)))
        broken = text[:place] + data.draw(st.sampled_from("[],1- ")) + text[place + data.draw(st.integers(0, 1)) :]
        read = skim(memoryview(broken.encode()), DTYPES["DT_INT64"])
    if read is not None:
        assert read.tolist() == json.loads(broken)
