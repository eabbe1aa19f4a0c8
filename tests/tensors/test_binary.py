"""Binary tensor data: bytes to tensors and back, and what is said of bytes that are not those of such a tensor."""

import math
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from serving.errors import InvalidArgument
from serving.rest.v2.schemas import MAX_ELEMENTS
from serving.tensors.binary import ALIGNMENT, decode_binary, encode_binary, strings_bytes
from serving.tensors.datatypes import DATATYPES
from serving.tensors.spec import Kind, strings

NUMBERS = {name: dtype for name, dtype in DATATYPES.items() if dtype.kind not in (Kind.STRING, Kind.BOOLEAN)}
SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def as_bytes(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def decode(datatype: str, shape: tuple[int, ...], data: bytes) -> Any:
    return decode_binary("x", DATATYPES[datatype], shape, memoryview(data))


@given(st.sampled_from(sorted(NUMBERS)), SHAPES, st.data())
def test_numbers_of_every_dtype_are_their_own_bytes(datatype: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    size = math.prod(shape) * NUMBERS[datatype].numpy.itemsize
    sent = data.draw(st.binary(min_size=size, max_size=size))
    array = decode(datatype, shape, sent)
    assert array.shape == shape
    assert array.dtype == NUMBERS[datatype].numpy
    assert bytes(encode_binary(array)) == sent


@given(SHAPES, st.data())
def test_booleans_are_bytes_of_0_and_1(shape: tuple[int, ...], data: st.DataObject) -> None:
    size = math.prod(shape)
    sent = bytes(data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    array = decode("BOOL", shape, sent)
    assert array.ravel().tolist() == [byte == 1 for byte in sent]
    assert bytes(encode_binary(array)) == sent


@given(SHAPES, st.data())
def test_strings_are_preceded_by_their_lengths(shape: tuple[int, ...], data: st.DataObject) -> None:
    size = math.prod(shape)
    values = data.draw(st.lists(st.binary(max_size=20), min_size=size, max_size=size))
    array = decode("BYTES", shape, as_bytes(*values))
    assert array.shape == shape
    assert array.ravel().tolist() == values
    assert encode_binary(array) == as_bytes(*values)


@given(st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(0, 2**62), max_size=4), st.binary(max_size=40))
def test_bytes_are_a_tensor_or_refused(datatype: str, shape: list[int], data: bytes) -> None:
    assume(math.prod(size or 1 for size in shape) <= MAX_ELEMENTS)  # others are refused before their bytes are read
    try:
        array = decode(datatype, tuple(shape), data)
    except InvalidArgument:
        return
    assert bytes(encode_binary(array)) == data


def test_little_endian_is_read_as_it_is_meant() -> None:
    assert decode("FP32", (2,), struct.pack("<2f", 1.5, -2)).tolist() == [1.5, -2.0]
    assert decode("INT16", (2,), b"\x01\x00\xff\x7f").tolist() == [1, 32767]
    assert decode("BF16", (1,), b"\xc0\x3f").astype(np.float32).tolist() == [1.5]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("FP32", (4,), b"\0" * 12, "12 bytes of binary data, but 16 are expected for shape [4] of float"),
        ("FP32", (2,), b"\0" * 12, "12 bytes of binary data, but 8 are expected"),
        ("INT64", (2**40,), b"\0" * 8, "8 bytes of binary data, but 8796093022208 are expected"),
        ("BOOL", (2,), b"\x01\x02", "a byte 2 in its binary data; a BOOL is 0 or 1"),
        ("BYTES", (1,), b"\x64\0\0\0ab", "element 0 has a length of 100 bytes, but 2 are left"),
        ("BYTES", (3,), as_bytes(b"abc", b"defgh"), "2 elements of BYTES, but 3 are expected"),
        ("BYTES", (2,), as_bytes(b"", b"", b""), "4 bytes left over after 2 elements of BYTES"),
        ("BYTES", (2,), as_bytes(b"abcd") + b"\1\0", "1 elements of BYTES, but 2 are expected"),
        ("BYTES", (2**40,), as_bytes(b"abc"), "too few for the 1099511627776 elements"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(datatype: str, shape: tuple[int, ...], data: bytes, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode(datatype, shape, data)
    assert said in refused.value.message


def test_large_tensors_share_the_memory_they_came_in_where_tensorflow_can_too() -> None:
    room = np.zeros(20_000, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    here = decode_binary("x", DATATYPES["FP32"], (2048,), memoryview(room)[start : start + 8192])
    beside = decode_binary("x", DATATYPES["FP32"], (2048,), memoryview(room)[start + 4 : start + 8196])
    assert np.shares_memory(here, room)
    assert not np.shares_memory(beside, room)
    assert beside.ctypes.data % ALIGNMENT == 0


@pytest.mark.parametrize("value", [b"", b"a", b"ab", b"a" * 16])
def test_what_strings_take_in_memory_is_told_from_their_shape_and_their_bytes(value: bytes) -> None:
    sent = as_bytes(value) * 50_000
    tracemalloc.start()
    try:
        decode("BYTES", (50_000,), sent)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= strings_bytes((50_000,), len(sent))
    assert strings_bytes((2**40,), len(sent)) < 20 * len(sent)  # whatever the shape promises


def test_the_bytes_of_numbers_are_not_copied() -> None:
    array = np.arange(1000, dtype=np.float32).reshape(10, 100)
    assert np.shares_memory(np.frombuffer(encode_binary(array), np.uint8), array)
    assert bytes(encode_binary(array.T)) == array.T.tobytes()


def test_a_vector_of_strings_keeps_what_it_is_given() -> None:
    assert strings([b"a", b"", b"\0"]).tolist() == [b"a", b"", b"\0"]
