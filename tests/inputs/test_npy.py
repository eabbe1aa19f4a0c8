"""Arrays as .npy: what numpy writes is read to the bit, what is hostile is refused, and no value is altered."""

import io
import struct
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.errors import InvalidArgument
from serving.inputs.npy import MAX_HEADER_BYTES, decode_npy, encode_npy
from serving.tensors.spec import DTYPES, TensorSpec


def written(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(text: str, values: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text.encode() + values


def header(descr: str = "<f4", fortran: str = "False", shape: str = "(2,)") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"


def decode(data: bytes, dtype: str = "float") -> Any:
    return decode_npy(data, TensorSpec("x", f"DT_{dtype.upper()}", (None,)))


def error(data: bytes, dtype: str = "float") -> str:
    with pytest.raises(InvalidArgument) as raised:
        decode(data, dtype)
    return raised.value.message


NUMBERS = {dtype.name: dtype.numpy for dtype in DTYPES.values() if dtype.name not in ("string", "bfloat16")}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_numpy_writes_is_read_to_the_bit_and_written_as_numpy_reads_it(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(NUMBERS)))
    shape = data.draw(arrays.array_shapes(min_dims=0, min_side=0))
    array = data.draw(arrays.arrays(NUMBERS[name], shape))
    order = data.draw(st.sampled_from("CF"))
    read = decode(written(np.asarray(array, order=order)), name)
    assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert read.flags.c_contiguous
    head, values = encode_npy(read)
    again = np.load(io.BytesIO(head + bytes(values)), allow_pickle=False)
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)))
def test_texts_are_read_as_utf_8(texts: list[str]) -> None:
    assert decode(written(np.array(texts, dtype="U5")), "string").tolist() == [text.encode() for text in texts]


def test_bytes_are_read_as_they_are() -> None:
    assert decode(written(np.array([b"\xff", b"ab"])), "string").tolist() == [b"\xff", b"ab"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_order_of_bytes_is_read(order: str) -> None:
    assert decode(written(np.array([1.5, -2.0], f"{order}f4"))).tolist() == [1.5, -2.0]
    assert decode(written(np.array([1, -2], f"{order}i8")), "int64").tolist() == [1, -2]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version: tuple[int, int]) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.float32([1, 2]), version=version)
    assert decode(file.getvalue()).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("array", "dtype", "values"),
    [
        (np.float64([0.1]), "float", [np.float32(0.1)]),
        (np.float64([np.nan, np.inf]), "half", [np.nan, np.inf]),
        (np.float32([1.5]), "double", [1.5]),
        (np.int64([255, -3]), "float", [255, -3]),
        (np.uint8([[7]]), "int64", [[7]]),
        (np.int64([-128, 127]), "int8", [-128, 127]),
        (np.uint64([2**63]), "float", [2.0**63]),
        (np.float32([1.5]), "bfloat16", [1.5]),
    ],
)
def test_what_keeps_its_value_is_taken(array: Any, dtype: str, values: list[Any]) -> None:
    read = decode(written(array), dtype)
    assert read.dtype == DTYPES[f"DT_{dtype.upper()}"].numpy
    np.testing.assert_array_equal(read.astype(np.float64), values)


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.int64([[1, 2**24 + 1]]), "float", "element [0,1] of the array is 16777217, which is not a value of float"),
        (np.int64([2**63 - 1]), "double", "element [0] of the array is 9223372036854775807"),
        (np.int64([1, 300]), "uint8", "element [1] of the array is 300, which is not a value of uint8"),
        (np.int64([-1]), "uint64", "element [0] of the array is -1"),
        (np.uint64([2**63]), "int64", "element [0] of the array is 9223372036854775808"),
        (np.int32([70000]), "half", "element [0] of the array is 70000"),
        (np.float64([1.0, 1e39]), "float", "element [1] of the array is 1e+39, which is not a value of float"),
        (np.float64([1.0]), "int64", "the array is of float64, of which no value is altered to be one of int64"),
        (np.array([True]), "float", "the array is of bool"),
        (np.int8([1]), "bool", "the array is of int8"),
        (np.array(["1"]), "float", "the array is of str"),
        (np.int8([1]), "string", "the array is of int8"),
        (np.array([1j]), "float", "the array is of dtype '<c16'; numbers, booleans and texts can be sent"),
        (np.array(["2026-01-01"], "M8[D]"), "int64", "the array is of dtype '<M8[D]'"),
        (np.array([1.5], ml_dtypes.bfloat16), "bfloat16", "the array is of dtype '<V2'"),
        (np.zeros(1, [("a", "f4")]), "float", "the array's header is not as"),
    ],
)  # fmt: skip
def test_what_would_be_altered_is_refused_and_named(array: Any, dtype: str, message: str) -> None:
    assert error(written(array), dtype).startswith(message)


def test_pickled_objects_are_never_read() -> None:
    assert error(written(np.array([{}], object), allow_pickle=True), "string") == (
        "the array is of dtype '|O'; numbers, booleans and texts can be sent"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the body is not an array in NumPy's format"),
        (b"PK\x03\x04", "the body is not an array"),
        (b"\x93NUMPY\x09\x00\x00\x00", "the body is not an array"),
        (b"\x93NUMPY\x01\x00", "the array ends within its header"),
        (b"\x93NUMPY\x01\x00\x40\x00{", "the array ends within its header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "the array's header has 4294967295 bytes, more than 4096"),
        (with_header(header(), b"12345678")[:-1], "the array has 7 bytes of values, but 8 are expected"),
        (with_header(header(), b"123456789"), "the array has 9 bytes of values, but 8 are expected"),
        (with_header(header(shape="(4000000000, 4000000000)")), "an array of shape [4000000000,4000000000] is larger"),
        (with_header(header(shape="(1000000000000,)")), "the array has 0 bytes of values, but 4000000000000"),
        (with_header(header(shape="(0, 9999999999999999999)")), "an array of shape [0,9999999999999999999] is larger"),
        (with_header(header(shape=f"({'0, ' * 65})")), "the array has 65 dimensions, more than 64"),
        (with_header(header(shape="(99999999999999999999,)")), "the array's header states a shape that is none"),
        (with_header(header(shape="(1 2,)")), "the array's header states a shape that is none"),
        (with_header(header(shape="(,)")), "the array's header states a shape that is none"),
        (with_header(header(shape="(-1,)")), "the array's header is not as NumPy writes it"),
        (with_header(header(shape="(2, 3")), "the array's header is not as NumPy writes it"),
        (with_header(header(descr="<U0", shape="(1000000000000,)")), "the array is of dtype '<U0'"),
        (with_header(header(descr="<f16", shape="(0,)")), "the array is of dtype '<f16', which is not read here"),
        (with_header(header(descr="<f3")), "the array is of dtype '<f3', which is not known here"),
        (with_header("__import__('os').abort()"), "the array's header is not as NumPy writes it"),
        (with_header("(" * 4000), "the array's header is not as NumPy writes it"),
        (with_header(header() + " " * MAX_HEADER_BYTES, version=b"\x02\x00"), "the array's header has 41"),
        (with_header(header("|b1", shape="(2,)"), b"\x01\x02"), "the array has a byte 2 among its booleans"),
        (with_header(header("<U1", shape="(1,)"), b"\xff\xff\xff\xff"), "the array has a text with something in it"),
        (with_header(header("<U1", shape="(1,)"), b"\x00\xd8\x00\x00"), "the array has a text with something in it"),
    ],
)  # fmt: skip
def test_hostile_bytes_are_refused(data: bytes, message: str) -> None:
    dtype = "bool" if b"b1" in data else "string" if b"<U1" in data else "float"
    assert error(data, dtype).startswith(message)


def test_nothing_is_allocated_for_what_a_header_promises() -> None:
    data = with_header(header(shape="(500000000,)"), b"1234")
    tracemalloc.start()
    try:
        error(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


COUNT = 200_000


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros(COUNT, "u1"), "float"),
        (np.zeros(COUNT, "u1"), "double"),
        (np.zeros(COUNT, "u1"), "int64"),
        (np.zeros(COUNT, "u1"), "bfloat16"),
        (np.zeros(COUNT, ">i8"), "double"),
        (np.zeros(COUNT, "f8"), "half"),
        (np.zeros((COUNT // 100, 100), "u1", order="F"), "float"),
        (np.full(COUNT, b"ab"), "string"),
        (np.full(COUNT, "\N{GRINNING FACE}a"), "string"),
        (np.full((2, COUNT // 2), "ab", order="F"), "string"),
        (np.array([b"a" * 20 * COUNT]), "string"),
        (np.array(["\N{GRINNING FACE}" * COUNT]), "string"),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else value,
)
def test_what_an_array_takes_while_it_becomes_a_tensor_is_asked_for_and_not_much_more(array: Any, dtype: str) -> None:
    data, asked = written(array), list[int]()
    tracemalloc.start()
    try:
        made = decode_npy(data, TensorSpec("x", f"DT_{dtype.upper()}", (None,)), asked.append)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made.shape == array.shape
    assert peak <= asked[-1] <= 6 * peak


@settings(max_examples=40, deadline=None)
@given(data=st.data(), order=st.sampled_from("CF"), rows=st.integers(1, 9_000))
def test_a_value_that_would_be_altered_is_named_wherever_it_stands(data: st.DataObject, order: str, rows: int) -> None:
    array = np.zeros((rows, 7), "<i4", order=order)  # type: ignore[call-overload]
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, 6))
    array[row, column] = 2**24 + 1
    assert error(written(array)).startswith(f"element [{row},{column}] of the array is 16777217,")
    array[row, column] = 2**24
    assert (decode(written(array)) == array).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["float", "string", "bool", "int8"]))
def test_any_bytes_are_an_array_or_an_error_of_the_request(data: bytes, dtype: str) -> None:
    for body in (data, with_header(header(), data), b"\x93NUMPY\x01\x00" + data):
        try:
            decode(body, dtype)
        except InvalidArgument:
            continue
