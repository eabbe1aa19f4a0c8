"""JSON data whose shape and dtype are stated: what is accepted, and what is said of the rest."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from serving.errors import InvalidArgument
from serving.tensors.datatypes import DATATYPES
from serving.tensors.row_major import decode_row_major

INTEGERS = [name for name in DATATYPES if "INT" in name]


def decode(datatype: str, shape: tuple[int, ...], data: Any) -> Any:
    return decode_row_major("x", DATATYPES[datatype], shape, data)


def refusal(datatype: str, shape: tuple[int, ...], data: Any) -> str:
    with pytest.raises(InvalidArgument) as refused:
        decode(datatype, shape, data)
    assert refused.value.message.startswith('input "x": ')
    return refused.value.message


@given(arrays(np.int32, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)))
def test_flat_and_nested_data_are_the_same_tensor(array: Any) -> None:
    for data in (array.tolist(), array.ravel().tolist()):
        decoded = decode("INT32", array.shape, data)
        assert decoded.shape == array.shape
        assert decoded.tolist() == array.tolist()


@pytest.mark.parametrize("datatype", INTEGERS)
def test_the_whole_range_of_an_integer_is_exact(datatype: str) -> None:
    limits = np.iinfo(DATATYPES[datatype].numpy)
    assert decode(datatype, (2,), [limits.min, limits.max]).tolist() == [limits.min, limits.max]
    for beyond in (limits.min - 1, limits.max + 1, float(limits.max) * 2):
        assert "element 0 of data" in refusal(datatype, (1,), [beyond])


@pytest.mark.parametrize(
    ("datatype", "data", "values"),
    [
        ("INT32", [1.0, -2.0, 3], [1, -2, 3]),
        ("UINT64", [float(2**53)], [2**53]),
        ("BOOL", [True, False, 0, 1, 0.0, 1.0], [True, False, False, True, False, True]),
        ("FP32", [1, 2.5, -3], [1.0, 2.5, -3.0]),
        ("FP16", [65504, float("inf")], [65504.0, float("inf")]),
        ("BF16", [1.5], [1.5]),
        ("BYTES", ["a", "é", {"b64": "AP8="}, ""], [b"a", "é".encode(), b"\0\xff", b""]),
    ],
)
def test_values_that_mean_the_same_are_accepted(datatype: str, data: list[Any], values: list[Any]) -> None:
    assert decode(datatype, (len(data),), data).tolist() == values


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT32", 1.5),
        ("INT32", True),
        ("INT64", 1e19),
        ("INT64", -9.3e18),
        ("UINT8", -1.0),
        ("INT32", "1"),
        ("INT32", None),
        ("INT32", float("nan")),
        ("BOOL", 2),
        ("BOOL", 0.5),
        ("BOOL", "true"),
        ("FP32", "1.5"),
        ("FP32", True),
        ("FP32", None),
        ("FP32", 1e39),
        ("FP16", 70000),
        ("BYTES", 1),
        ("BYTES", {"b64": "!"}),
        ("BYTES", None),
    ],
)
def test_values_that_would_have_to_change_are_refused(datatype: str, value: Any) -> None:
    good = {"BYTES": "a", "BOOL": True}.get(datatype, 1)
    text = refusal(datatype, (3,), [good, value, good])
    assert "element 1 of data is " in text
    assert f"is not a value of {DATATYPES[datatype].name}" in text


@pytest.mark.parametrize(
    ("shape", "data", "said"),
    [
        ((3,), [1, 2, 3, 4], "data has 4 elements, but 3 are expected for shape [3]"),
        ((2, 2), [[1, 2], [3]], "the lists of data are not of one length at level 1"),
        ((2, 2), [[1, 2], 3], "the lists of data are not of one length at level 1"),
        ((2, 3), [[1, 2], [3, 4], [5, 6]], "data has shape [3,2], but the shape stated is [2,3]"),
        ((1,), 1, "data is 1, a list of its elements is expected"),
        ((1,), None, "data is null"),
        ((2,), [[1], [2]], "element 0 of data is [1] of type Array"),
        ((10**12,), [1], "but 1000000000000 are expected"),
    ],
)
def test_data_that_is_not_of_the_shape_is_refused(shape: tuple[int, ...], data: Any, said: str) -> None:
    assert said in refusal("INT32", shape, data)


def test_a_scalar_is_a_list_of_one_element() -> None:
    assert decode("FP32", (), [1.5]).shape == ()


@given(st.recursive(st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3), st.lists))
def test_whatever_the_data_is_it_is_read_or_refused(data: Any) -> None:
    for datatype in DATATYPES:
        try:
            array = decode(datatype, (2, 1), data)
        except InvalidArgument:
            continue
        assert array.shape == (2, 1)
