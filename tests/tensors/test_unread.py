"""Large lists that are left as text: the tensors and the errors are those of the document parsed as a whole."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidArgument
from serving.tensors.datatypes import DATATYPES
from serving.tensors.parse import parse
from serving.tensors.row_major import decode_row_major
from serving.tensors.unread import Unread, parse_around

NUMBERS = list(range(2000))
LARGE = json.dumps(NUMBERS)
ROWS = np.arange(2000).reshape(2, 10, 100)


def document(*data: str, more: str = "") -> bytes:
    """A request whose inputs have these texts as data."""
    inputs = ", ".join(f'{{"name": "x{place}", "data" : {text}, "shape": [1]}}' for place, text in enumerate(data))
    return f'{{{more} "inputs": [{inputs}], "id": "}}]"}}'.encode()


def read(value: Any) -> Any:
    """A document with all that was left unread in it."""
    if isinstance(value, Unread):
        return value.parse()
    if isinstance(value, dict):
        return {key: read(its) for key, its in value.items()}
    return [read(its) for its in value] if isinstance(value, list) else value


def unread(value: Any) -> list[bool]:
    return [isinstance(one["data"], Unread) for one in value["inputs"]]


@pytest.mark.parametrize("data", [LARGE, json.dumps(ROWS.tolist()), f" [{LARGE} ,\n{LARGE}]\t"])
def test_large_lists_of_numbers_are_left_unread(data: str) -> None:
    body = document(data, "[1, 2]", data)
    value = parse_around(body)
    assert unread(value) == [True, False, True]
    assert read(value) == parse(body)


@pytest.mark.parametrize(
    "body",
    [
        document(json.dumps(["a"] * 2000)),
        document(f'[{LARGE}, {{"b64": "YQ=="}}]'),
        document("1", more=f'"data": {LARGE},'),
        document(LARGE, more=f'"data": {LARGE},'),
        document(LARGE, more=f'"parameters": {{"data": {LARGE}}},'),
        document(LARGE, more=f'"a\\"data": {LARGE},'),
        document(f'1, "data": {LARGE}, "data": {LARGE}'),
        document(LARGE, more='"text": "\\"data\\": [' + "1, " * 2000 + '",'),
        LARGE.encode(),
        f'[{{"data": {LARGE}}}]'.encode(),
        f'{{"inputs": {{"data": {LARGE}}}}}'.encode(),
        f'{{"inputs": [{LARGE}, "data", 1, null]}}'.encode(),
    ],
)
def test_whatever_else_is_in_a_document_is_as_it_was_sent(body: bytes) -> None:
    assert read(parse_around(body)) == parse(body)


@pytest.mark.parametrize(
    "body",
    [
        document(LARGE[:-1]),
        document(LARGE + "]"),
        document(LARGE + " 5"),
        document(LARGE + LARGE),
        document(LARGE[:-1] + ", 01]"),
        document("[" + LARGE),
        document(LARGE.replace("1000", "")),
        document(LARGE.replace("1000", "nan")),
        document(LARGE, more="wrong"),
        document(LARGE)[:-1],
        f'{{"inputs": [{{"data": {LARGE}'.encode(),
        f'"data": {LARGE}'.encode(),
    ],
)
def test_an_error_is_that_of_the_whole_document(body: bytes) -> None:
    with pytest.raises(InvalidArgument) as expected:
        parse(body)
    with pytest.raises(InvalidArgument) as told:
        read(parse_around(body))
    assert told.value.message == expected.value.message


SCALARS = st.one_of(
    st.integers(-(2**64), 2**65), st.floats(), st.sampled_from([3.0, 1e39, 70000, 300, -1, True, None, "1", [1]])
)


@given(
    st.sampled_from(sorted(DATATYPES)),
    st.sampled_from([(2000,), (2, 1000), (2, 10, 100), (20, 100), (1000, 2), (2000, 1), (1999,), ()]),
    st.sampled_from([(2000,), (2, 1000), (2, 10, 100), (2, 10, 10, 10)]),
    st.lists(st.tuples(st.integers(0, 1999), SCALARS), max_size=2),
)
def test_data_left_unread_is_decoded_like_any_other(
    datatype: str, stated: tuple[int, ...], sent: tuple[int, ...], changes: list[tuple[int, Any]]
) -> None:
    items = np.empty(2000, object)
    items[:] = [place % 2 for place in range(2000)]
    for place, value in changes:
        items[place] = value
    text = json.dumps(items.reshape(sent).tolist(), indent=1)
    (one,) = parse_around(document(text))["inputs"]
    assert outcome(datatype, stated, one["data"]) == outcome(datatype, stated, parse(text.encode()))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("FP16", 70000), ("BF16", 1e39), ("FP32", -1e39), ("INT8", 128), ("UINT64", -1), ("INT32", 1.5), ("BOOL", 2)],
)
def test_a_number_that_does_not_fit_is_told_of_left_unread_data_too(datatype: str, value: float) -> None:
    (one,) = parse_around(document(json.dumps([1] * 1999 + [value])))["inputs"]
    assert outcome(datatype, (2000,), one["data"]).startswith('input "x": element 1999 of data is ')


def outcome(datatype: str, shape: tuple[int, ...], data: Any) -> Any:
    """The tensor, or what is said of it."""
    try:
        array = decode_row_major("x", DATATYPES[datatype], shape, data)
    except InvalidArgument as error:
        return error.message
    return array.dtype, array.shape, array.tolist() if array.dtype == object else array.tobytes()
