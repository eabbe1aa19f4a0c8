"""Arrays in NumPy's file format, `.npy`.

    \\x93NUMPY, the version of the format in two bytes, the length of the header, and the header as text:
    {'descr': '<f4', 'fortran_order': False, 'shape': (3, 8, 8), }
    then the values, and nothing after them

Pickled objects are never read. The header is read by a pattern, not as Python, and nothing is allocated for what it
promises before the bytes are seen to be there.

No value is altered silently. As in JSON, decimals take the precision of the input's dtype, and integers do for decimals
where they are exactly the same; decimals are no integers, booleans no numbers. What is out of range is refused.

An array of another dtype than the input's is converted in pieces, so that this takes little more than what it makes.
"""

import io
import math
import re
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from serving.errors import InvalidArgument, NotAcceptable
from serving.tensors.binary import aligned
from serving.tensors.echo import cut
from serving.tensors.spec import Array, Kind, TensorSpec, shape_text

MAX_HEADER_BYTES = 4096
"""NumPy itself writes less than 128 bytes for tensors."""
MAX_RANK = 64
MAX_ADDRESS = 2**62

_MAGIC = b"\x93NUMPY"
_LENGTHS = {b"\x01\x00": struct.Struct("<H"), b"\x02\x00": struct.Struct("<I"), b"\x03\x00": struct.Struct("<I")}
"""How the length of the header is written in each version of the format."""
_HEADER = re.compile(
    rb"\s*\{\s*'descr'\s*:\s*'([^']{1,32})'\s*,\s*'fortran_order'\s*:\s*(True|False)\s*,"
    rb"\s*'shape'\s*:\s*\(([0-9, ]{0,1500})\)\s*,?\s*\}\s*"
)
_DESCR = re.compile(r"[<>|=]?(?:[fiub][1-9][0-9]{0,2}|[SU][0-9]{1,9})")
_FROM = {Kind.DECIMAL: "fiu", Kind.INTEGER: "iu", Kind.BOOLEAN: "b", Kind.STRING: "SU"}
"""Which kinds of NumPy's dtypes an input takes."""
_NO_CHARACTER = "the array has a text with something in it that is not a character"
_WIDEST = 8
"""Bytes of the widest number that is the same on every machine."""

_PIECE = 16 * 1024
"""How many values are converted at a time."""
_WORK_BYTES = 64
"""What each of them takes meanwhile beside itself, at most."""
_STRING_BYTES = 56
"""A reference and what a bytes object takes beside its text, at most."""
_COPIES = 3
"""A text in a piece, as Python has it and as UTF-8: the longest are a piece each."""

Need = Callable[[int], None]
"""Called with the bytes that will be needed in all, before they are; raises where there are not as many."""


def decode_npy(data: bytes | memoryview, spec: TensorSpec, need: Need = lambda size: None) -> Array:
    """The tensor of an input; InvalidArgument says what is wrong with the bytes, or with which value.

    What takes more memory than the bytes themselves is asked for by `need`.
    """
    array = read_npy(memoryview(data))
    assert spec.dtype is not None
    if array.dtype.kind not in _FROM[spec.dtype.kind]:
        raise InvalidArgument(
            f"the array is of {array.dtype.name}, of which no value is altered to be one of {spec.dtype.name}, "
            f'the dtype of input "{spec.name}"'
        )
    if spec.dtype.kind is Kind.STRING:
        return _strings(array, need)
    if spec.dtype.kind is Kind.BOOLEAN:
        _check_booleans(array)
    if array.dtype == spec.dtype.numpy:
        return aligned(array.reshape(-1)).reshape(array.shape) if array.flags.c_contiguous else array.copy(order="C")
    return _converted(array, spec, need)


def read_npy(data: memoryview) -> Array:
    """The array that the bytes are, sharing their memory; InvalidArgument when they are none."""
    descr, fortran, shape, start = _read_header(data)
    if not _DESCR.fullmatch(descr):
        raise InvalidArgument(f"the array is of dtype {cut(descr)!r}; numbers, booleans and texts can be sent")
    dtype = _dtype(descr)
    if len(shape) > MAX_RANK:
        raise InvalidArgument(f"the array has {len(shape)} dimensions, more than {MAX_RANK}")
    if math.prod(max(1, size) for size in shape) * dtype.itemsize > MAX_ADDRESS:
        raise InvalidArgument(f"an array of shape {shape_text(shape)} is larger than any memory")
    expected, sent = math.prod(shape) * dtype.itemsize, len(data) - start
    if expected != sent:
        raise InvalidArgument(
            f"the array has {sent} bytes of values, but {expected} are expected for shape {shape_text(shape)} "
            f"of {descr}"
        )
    return np.frombuffer(data[start:], dtype).reshape(shape, order="F" if fortran else "C")


def encode_npy(array: Array) -> tuple[bytes, memoryview]:
    """The header of an array and its values, which are its own memory where they lie in one piece."""
    if array.dtype.kind not in "biuf":
        raise NotAcceptable(f"a tensor of {array.dtype.name} cannot be written as .npy without pickling")
    whole = np.ascontiguousarray(array).reshape(array.shape)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(whole))
    return header.getvalue(), whole.reshape(-1).view(np.uint8).data


def _read_header(data: memoryview) -> tuple[str, bool, tuple[int, ...], int]:
    """Dtype, order and shape of an array, and where its values begin."""
    head = bytes(data[: MAX_HEADER_BYTES + 12])
    length = _LENGTHS.get(head[6:8])
    if not head.startswith(_MAGIC) or length is None:
        raise InvalidArgument("the body is not an array in NumPy's format (.npy)")
    begin = 8 + length.size
    if len(head) < begin:
        raise InvalidArgument("the array ends within its header")
    (size,) = length.unpack_from(head, 8)
    if size > MAX_HEADER_BYTES:
        raise InvalidArgument(f"the array's header has {size} bytes, more than {MAX_HEADER_BYTES}")
    if begin + size > len(data):
        raise InvalidArgument("the array ends within its header")
    match = _HEADER.fullmatch(head, begin, begin + size)
    if match is None:
        raise InvalidArgument("the array's header is not as NumPy writes it for numbers, booleans and texts")
    text = match[3].strip()
    parts = [part.strip() for part in text.removesuffix(b",").split(b",")] if text else []
    if not all(part.isdigit() and len(part) < 20 for part in parts):
        raise InvalidArgument("the array's header states a shape that is none")
    return match[1].decode("latin-1"), match[2] == b"True", tuple(map(int, parts)), begin + size


def _dtype(descr: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(descr)
    except TypeError:
        raise InvalidArgument(f"the array is of dtype {descr!r}, which is not known here") from None
    if dtype.itemsize == 0 or (dtype.kind not in "SU" and dtype.itemsize > _WIDEST):
        raise InvalidArgument(f"the array is of dtype {descr!r}, which is not read here")
    return dtype


def _check_booleans(array: Array) -> None:
    values = array.reshape(-1, order="A").view(np.uint8)
    if values.size and values.max() > 1:
        raise InvalidArgument(f"the array has a byte {values.max()} among its booleans, which are 0 or 1")


def _strings(array: Array, need: Need) -> Array:
    need(_COPIES * array.nbytes + (array.size + 2 * _PIECE) * _STRING_BYTES)
    made = np.empty(array.shape, object)
    texts = made.reshape(-1)
    for start, piece in _pieces(array):
        texts[start : start + len(piece)] = piece.tolist() if array.dtype.kind == "S" else _encoded(piece)
    return made


def _encoded(texts: Array) -> list[bytes]:
    """The texts as UTF-8."""
    codes = texts.astype(texts.dtype.newbyteorder("=")).view(np.uint32)
    if codes.size and codes.max() > sys.maxunicode:  # of which Python would make no text
        raise InvalidArgument(_NO_CHARACTER)
    try:
        return [text.encode() for text in texts.tolist()]
    except UnicodeEncodeError:  # half of a surrogate pair
        raise InvalidArgument(_NO_CHARACTER) from None


def _converted(array: Array, spec: TensorSpec, need: Need) -> Array:
    """The array in the dtype of the input; InvalidArgument names the first value that would be altered."""
    assert spec.dtype is not None
    need(array.nbytes + array.size * spec.dtype.numpy.itemsize + _PIECE * _WORK_BYTES)
    made = np.empty(array.shape, spec.dtype.numpy)
    numbers = made.reshape(-1)
    for start, piece in _pieces(array):
        altered = _convert(piece, numbers[start : start + len(piece)])
        if altered.any():
            index = np.unravel_index(start + int(altered.argmax()), array.shape)
            raise InvalidArgument(
                f"element {shape_text(tuple(map(int, index)))} of the array is {array[index]}, which is not a value of "
                f'{spec.dtype.name}, the dtype of input "{spec.name}"'
            )
    return made


def _pieces(array: Array) -> Iterator[tuple[int, Array]]:
    """The values in row-major order, a piece at a time, and where each begins; another order costs a copy of all."""
    vector = array.reshape(-1)
    for start in range(0, vector.size, _PIECE):
        yield start, vector[start : start + _PIECE]


def _convert(numbers: Array, made: Array) -> Array:
    """Write numbers into an array of another dtype; where they are altered by that."""
    numbers = numbers.copy()  # to where they are aligned
    with np.errstate(over="ignore", invalid="ignore"):
        made[:] = numbers
        return np.isinf(made) & np.isfinite(numbers) if numbers.dtype.kind == "f" else _altered_integers(numbers, made)


def _altered_integers(array: Array, made: Array) -> Array:
    """Where integers are not the same in another dtype: where they do not come back, or come back by wrapping."""
    if made.dtype.kind in "iu":
        return np.asarray((made.astype(array.dtype) != array) | ((made < 0) != (array < 0)))
    limits, wide = np.iinfo(array.dtype), made.astype(np.float64)
    inside = (wide >= float(limits.min)) & (wide < float(limits.max) + 1)
    return np.asarray(~inside | (np.where(inside, wide, 0).astype(array.dtype) != array))
