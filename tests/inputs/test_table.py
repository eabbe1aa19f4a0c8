"""Tables as CSV: what is written is read again, and what is wrong is named by row and column."""

import csv
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import FailedPrecondition, InvalidArgument, NotAcceptable, ServingError, UnsupportedMediaType
from serving.inputs.table import BLOCK_CELLS, MAX_LINE_CHARACTERS, decode_csv, encode_csv
from serving.tensors.spec import DTYPES, Kind, TensorSpec

Shape = tuple[int | None, ...] | None


def specs(**inputs: tuple[str, Shape] | str) -> dict[str, TensorSpec]:
    """Inputs by their dtype, and their shape where it is not [-1]."""
    pairs = {name: its if isinstance(its, tuple) else (its, (None,)) for name, its in inputs.items()}
    return {name: TensorSpec(name, f"DT_{dtype.upper()}", shape) for name, (dtype, shape) in pairs.items()}


def read(text: str | bytes, **inputs: tuple[str, Shape] | str) -> dict[str, Any]:
    body = text.encode() if isinstance(text, str) else text
    return {name: array.tolist() for name, array in decode_csv(body, specs(**inputs)).items()}


def error(text: str | bytes, **inputs: tuple[str, Shape] | str) -> str:
    with pytest.raises(InvalidArgument) as raised:
        read(text, **inputs)
    return raised.value.message


PEOPLE = {"age": "int64", "city": "string"}


@pytest.mark.parametrize(
    "text",
    [
        "age,city\n41,Bern\n27,Basel\n",
        "city,age\nBern,41\nBasel,27\n",
        "age,city\r\n41,Bern\r\n27,Basel\r\n",
        "age,city\r41,Bern\r27,Basel",
        "\ufeffage,city\n41,Bern\n27,Basel\n",
        '"age","city"\n"41","Bern"\n 27 ,Basel\n',
        "age, city\n\n41,Bern\n\n27,Basel\n\n",
    ],
)
def test_a_table_has_a_column_for_each_input_in_any_order(text: str) -> None:
    assert read(text, **PEOPLE) == {"age": [41, 27], "city": [b"Bern", b"Basel"]}


def test_quoted_cells_hold_anything() -> None:
    assert read('city\n"a ""b"", c\n d"\n""\n', city="string") == {"city": [b'a "b", c\n d', b""]}


def test_a_column_may_be_a_matrix_of_one_column() -> None:
    assert read("a,b\n1.5,2\n", a=("float", (None, 1)), b="int8") == {"a": [[1.5]], "b": [2]}


def test_one_input_of_several_values_takes_that_many_columns_in_their_order() -> None:
    vector: Any = ("float", (None, 3))
    assert read("petal,sepal,x\n1,2,3\n4,5,6.5\n", x=vector) == {"x": [[1, 2, 3], [4, 5, 6.5]]}
    assert error("a,b\n1,2\n", x=vector) == 'the CSV has 2 columns, but input "x" takes 3'
    assert error("1,2,3\n4,5,6\n", x=vector).startswith("the CSV begins with numbers; its first row holds the names")
    assert error("a,b,c\n1,2,3\n4,x,6\n", x=vector) == "CSV row 2, column \"b\": 'x' is not a value of float"


@pytest.mark.parametrize(
    ("dtype", "cells", "values"),
    [
        ("float", "1e3,-0.5,nan,-Infinity", [1000, -0.5, float("nan"), float("-inf")]),
        ("half", "0.1,65504,inf,3", [np.float16(0.1), 65504, float("inf"), 3]),
        ("bfloat16", "1.5,2,3,4", [1.5, 2, 3, 4]),
        ("uint64", "18446744073709551615,0,+1,2", [2**64 - 1, 0, 1, 2]),
        ("bool", "true,FALSE,1,0", [True, False, True, False]),
    ],
)
def test_cells_are_read_by_the_dtype_of_their_input(dtype: str, cells: str, values: list[Any]) -> None:
    np.testing.assert_array_equal(read("x\n" + cells.replace(",", "\n"), x=dtype)["x"], values)


@pytest.mark.parametrize(
    ("dtype", "cell", "shown"),
    [
        ("float", "abc", "'abc'"),
        ("float", "", "''"),
        ("float", "1_000", "'1_000'"),
        ("float", "٣", "'٣'"),
        ("float", "1e39", "'1e39'"),
        ("double", "1e400", "'1e400'"),
        ("int64", "1.0", "'1.0'"),
        ("int64", "9223372036854775808", "'9223372036854775808'"),
        ("int64", "9" * 5000, "'" + "9" * 63),
        ("uint8", "256", "'256'"),
        ("uint8", "-1", "'-1'"),
        ("bool", "yes", "'yes'"),
    ],
)
def test_a_cell_that_is_no_value_is_named(dtype: str, cell: str, shown: str) -> None:
    text = f"y,x\n1,0\n\n1,0\n1,{cell}\n"
    assert error(text, x=dtype, y="int8") == f'CSV row 3, column "x": {shown} is not a value of {dtype}'


def test_a_cell_far_down_is_named_by_its_row() -> None:
    rows = ["1"] * (BLOCK_CELLS + 10)
    rows[BLOCK_CELLS + 5] = "x"
    assert error("x\n" + "\n".join(rows), x="float").startswith(f'CSV row {BLOCK_CELLS + 6}, column "x": ')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the CSV is empty; its first row holds the names of the columns: age, city"),
        ("\n\n", "the CSV is empty"),
        ("age,city\n", "the CSV has no rows behind its header"),
        ("age\n1\n", 'CSV column "city" is missing'),
        ("age,town,city\n1,2,3\n", 'CSV column "town" is no input; the inputs are age, city'),
        ("age;city\n1;2\n", 'CSV column "age;city" is no input'),
        ("age,city,age\n1,2,3\n", 'CSV column "age" is there twice'),
        ("age,city\n1,a\n2\n", "CSV row 2 has 1 cells, but the header has 2"),
        ("age,city\n1,a,b\n", "CSV row 1 has 3 cells, but the header has 2"),
        ('age,city\n1,"a\n', "CSV line 2: unexpected end of data"),
        ('age,city\n1,"a"b\n', "CSV line 2: ',' expected after '\"'"),
        ("age,city\n1," + "x" * 200_000, "CSV line 2: field larger than field limit (131072)"),
        (b"age,city\n1,\xff\n", "the CSV is not UTF-8"),
        ("age,city\n1,a\n".encode("utf-16"), "the CSV is not UTF-8"),
        ("x," * 1_000_000 + "\n", 'CSV column "x" is there twice'),
        (",".join(map(str, range(500_000))), 'CSV column "0" is no input'),
        ("x" * (MAX_LINE_CHARACTERS + 1), "CSV line 1: field larger than field limit (131072)"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_an_error(text: str | bytes, message: str) -> None:
    assert error(text, **PEOPLE).startswith(message)


def test_a_line_that_is_longer_than_any_may_be_is_no_row() -> None:
    cell = "1" + " " * 100_000
    width = MAX_LINE_CHARACTERS // len(cell) + 2
    names = ",".join(f"c{place}" for place in range(width))
    text = f"{names}\n" + ",".join([cell] * width) + "\n"
    assert error(text, x=("int8", (None, width))).startswith("CSV row 1 has ")


def test_a_million_columns_are_read_where_a_million_are_asked() -> None:
    text = ",".join(f"c{place}" for place in range(500_000)) + "\n" + "1," * 499_999 + "2\n"
    assert sum(read(text, x=("int8", (None, 500_000)))["x"][0]) == 500_001


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": ("float", (None, 8, 8))}, 'not for "x" of shape [-1,8,8]'),
        ({"x": ("float", (None, None))}, 'not for "x" of shape [-1,-1]'),
        ({"x": ("float", None)}, 'not for "x" of shape [?]'),
        ({"x": ("float", ())}, 'not for "x" of shape []'),
        ({"a": ("float", (None, 2)), "b": "float"}, 'not for "a" of shape [-1,2]'),
        ({}, "and this signature has no inputs"),
    ],
)
def test_inputs_that_no_table_holds_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedMediaType) as raised:
        read("x\n1\n", **inputs)
    assert raised.value.message.endswith(message)


def test_reading_can_be_stopped() -> None:
    def stop() -> None:
        raise ServingError("enough")

    with pytest.raises(ServingError, match="enough"):
        decode_csv(b"x\n1\n", specs(x="float"), stop)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_again(data: st.DataObject) -> None:
    names = ["half", "float", "double", "int8", "int64", "uint64", "bool", "string"]
    dtypes = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    rows = data.draw(st.integers(1, 4))
    outputs = {f"o{place}": _vector(data, dtype, rows) for place, dtype in enumerate(dtypes)}
    text = encode_csv(outputs, "literal")
    read_again = decode_csv(text, specs(**{f"o{place}": dtype for place, dtype in enumerate(dtypes)}))
    for name, array in outputs.items():
        np.testing.assert_array_equal(read_again[name], array)
        assert read_again[name].dtype == array.dtype


def _vector(data: st.DataObject, name: str, rows: int) -> Any:
    dtype = DTYPES[f"DT_{name.upper()}"]
    if dtype.kind is Kind.STRING:
        texts = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=rows, max_size=rows))
        return np.array([text.encode() for text in texts] + [None], object)[:-1]
    if dtype.kind is Kind.DECIMAL:
        values = data.draw(st.lists(st.floats(width=dtype.numpy.itemsize * 8), min_size=rows, max_size=rows))  # type: ignore[call-overload]
    elif dtype.kind is Kind.BOOLEAN:
        values = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    else:
        limits = np.iinfo(dtype.numpy)
        integers = st.integers(int(limits.min), int(limits.max))
        values = data.draw(st.lists(integers, min_size=rows, max_size=rows))
    return np.array(values, dtype.numpy)


def table(outputs: dict[str, Any], non_finite: Any = "literal") -> list[list[str]]:
    return list(csv.reader(io.StringIO(encode_csv(outputs, non_finite).decode(), newline="")))


def test_vectors_are_written_as_columns() -> None:
    outputs = {
        "label": np.array([b"a", b"b, c"], object),
        "p": np.float32([[0.1, 1], [2, 3]]),
        "one": np.int8([[7], [8]]),
    }
    assert table(outputs) == [
        ["label", "p_0", "p_1", "one"],
        ["a", "0.1", "1.0", "7"],
        ["b, c", "2.0", "3.0", "8"],
    ]


def test_values_that_are_not_finite_are_written_as_the_setting_says() -> None:
    outputs = {"y": np.float32([1, np.nan, np.inf])}
    assert table(outputs) == [["y"], ["1.0"], ["NaN"], ["Infinity"]]
    assert encode_csv(outputs, "null") == b'y\r\n1.0\r\n""\r\n""\r\n'
    with pytest.raises(FailedPrecondition):
        encode_csv(outputs, "error")


def test_bytes_are_written_as_base64() -> None:
    assert table({"y_bytes": np.array([b"\xff\x00"], object)}) == [["y_bytes"], ["/wA="]]


def test_no_rows_are_a_header() -> None:
    assert table({"y": np.zeros((0, 2), np.float32)}) == [["y_0", "y_1"]]


@pytest.mark.parametrize("array", [np.zeros((2, 2, 2)), np.array([b"\xff"], object)])
def test_what_no_table_can_hold_is_not_written(array: Any) -> None:
    with pytest.raises(NotAcceptable, match="which no table can hold"):
        encode_csv({"y": array}, "literal")
