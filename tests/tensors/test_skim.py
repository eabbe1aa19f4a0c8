"""The fast way in, held against the careful one."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.tensors.decode import decode_tensor
from serving.tensors.parse import parse
from serving.tensors.skim import FROM_BYTES, skim
from serving.tensors.spec import DTYPES, Array, TensorSpec

PADDING = " " * FROM_BYTES
NUMERIC = [name for name in DTYPES if name not in ("DT_BOOL", "DT_STRING")]


def skimmed(text: str, dtype: str = "DT_FLOAT") -> Array | None:
    """What skimming makes of a body, which white space makes large enough."""
    found = skim((text + PADDING).encode())
    return None if found is None else found.tensor(DTYPES[dtype])


def careful(text: str, dtype: str) -> Array | None:
    """What the careful way makes of the tensor in it; None for an error."""
    try:
        document = parse(text.encode())
        return decode_tensor(document["inputs"], TensorSpec("x", dtype, None))
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
    text = json.dumps({"inputs": value})
    fast = skimmed(text, dtype)
    if fast is not None:
        slow = careful(text, dtype)
        assert slow is not None
        assert fast.dtype == slow.dtype
        assert fast.shape == slow.shape
        assert fast.tobytes() == slow.tobytes()


@pytest.mark.parametrize("dtype", NUMERIC)
def test_plain_numbers_are_skimmed_for_every_numeric_dtype(dtype: str) -> None:
    array = skimmed('{"instances": [[1, 2], [3, 4], [5, 6]]}', dtype)
    assert array is not None
    assert array.dtype == DTYPES[dtype].numpy
    assert array.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_signature_name_may_stand_on_either_side() -> None:
    for text in ('{"signature_name": "e1 -x", "inputs": [1]}', '{"inputs": [1], "signature_name": "e1 -x"}'):
        found = skim((text + PADDING).encode())
        assert found is not None
        assert (found.key, found.envelope) == ("inputs", {"signature_name": "e1 -x"})


@pytest.mark.parametrize(
    "text",
    [
        '{"instances": [[1, 2], [3], [4, 5, 6]]}',
        '{"instances": [[[1, 2], [3, 4]], [[1, 2, 3], [4]]]}',
        '{"instances": [[1], 2]}',
        '{"instances": [1, [2]]}',
        '{"instances": []}',
        '{"instances": [[], []]}',
        '{"instances": [1], "instances": [2]}',
        '{"instances": [1], "inputs": [2]}',
        '{"instances": [1], "other": [[1]]}',
        '{"instances": [1], "other": 1}',
        '{"instances": [1], "other": "a"}',
        '{"instances": {"a": 1}}',
        '{"instances": 1}',
        '{"instances": [NaN]}',
        '{"instances": [1e999]}',
        '{"instances": [1,]}',
        '{"instances": [1]} {}',
        '{"instances": ' + "[" * 65 + "1" + "]" * 65 + "}",
        "[1]",
        "1",
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
        ("[1]", "DT_BOOL"),
        ("[1]", "DT_STRING"),
        ("[true]", "DT_FLOAT"),
        ('["1"]', "DT_FLOAT"),
        ("[null]", "DT_FLOAT"),
    ],
)
def test_values_that_do_not_fit_the_dtype_are_left_to_the_careful_way(numbers: str, dtype: str) -> None:
    assert skimmed(f'{{"inputs": {numbers}}}', dtype) is None


def test_small_bodies_are_left_alone() -> None:
    assert skim(b'{"instances": [1]}') is None


def test_64_bit_integers_are_exact() -> None:
    array = skimmed('{"inputs": [9223372036854775807, -9223372036854775808, 9007199254740993]}', "DT_INT64")
    assert array is not None
    assert array.tolist() == [9223372036854775807, -9223372036854775808, 9007199254740993]
    assert np.array_equal(skimmed('{"inputs": [18446744073709551615]}', "DT_UINT64"), np.array([2**64 - 1], np.uint64))


@pytest.mark.parametrize("name", [r"\u0000", r"\"", r"\u00e9\n"])
def test_a_body_with_an_escaped_name_is_read_the_ordinary_way(name: str) -> None:
    body = f'{{"{name}": 1, "instances": {[1.5] * FROM_BYTES}}}'.encode()
    assert skim(body) is None
