"""The body of a request while it arrives."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.request_body import ALIGNMENT, LARGE_BYTES, LargeBody, make_body


def test_a_small_body_and_one_of_unknown_length_are_plain() -> None:
    assert isinstance(make_body(0, None), io.BytesIO)
    assert isinstance(make_body(LARGE_BYTES - 1, b"10"), io.BytesIO)
    assert isinstance(make_body(LARGE_BYTES, b"10"), LargeBody)


@given(st.lists(st.binary(max_size=50), max_size=10), st.lists(st.integers(-1, 100), max_size=10))
def test_a_large_body_reads_like_a_file(pieces: list[bytes], sizes: list[int]) -> None:
    whole = b"".join(pieces)
    body, file = LargeBody(len(whole), 0), io.BytesIO(whole)
    for piece in pieces:
        body.write(piece)
    assert bytes(body.getbuffer()) == whole
    body.seek(0)
    for size in sizes:
        assert body.read(size) == file.read(size)
        assert body.tell() == file.tell()
    body.seek(0)
    file.seek(0)
    assert body.readlines() == file.readlines()


@pytest.mark.parametrize("json_bytes", [b"0", b"1", b"93", b"64", b"151"])
def test_binary_data_lies_where_tensorflow_can_take_it_over(json_bytes: bytes) -> None:
    body = make_body(LARGE_BYTES, json_bytes)
    body.write(bytes(LARGE_BYTES))
    data = np.frombuffer(body.getbuffer()[int(json_bytes) :], np.uint8)
    assert data.ctypes.data % ALIGNMENT == 0


@pytest.mark.parametrize("header", [b"", b"abc", b"-1", b"9" * 100, b"\xb2", b"1_0"])
def test_a_header_that_is_no_number_does_no_harm(header: bytes) -> None:
    body = make_body(LARGE_BYTES, header)
    body.write(b"x" * LARGE_BYTES)
    assert bytes(body.getbuffer()) == b"x" * LARGE_BYTES


def test_memory_that_is_still_used_outlives_the_body() -> None:
    body = make_body(LARGE_BYTES, None)
    body.write(b"x" * LARGE_BYTES)
    array = np.frombuffer(body.getbuffer(), np.uint8)
    body.close()
    del body
    assert array.sum() == LARGE_BYTES * ord("x")
