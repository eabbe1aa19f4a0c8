"""Tensors as bytes: the binary tensor data of the Open Inference Protocol.

Numbers are little-endian in row-major order, a BOOL is one byte, 0 or 1. An element of BYTES is its length as a
little-endian u32, then its bytes.

Numbers are not copied on the way in, unless they lie where TensorFlow would have to copy them itself, and not on the
way out. Nothing is allocated for what a shape promises before the bytes are seen to be there.
"""

import math
import struct

import numpy as np

from serving.errors import InvalidArgument
from serving.tensors.spec import Array, DType, Kind, shape_text, strings

ALIGNMENT = 64
"""TensorFlow takes an array over as it is when its first byte lies at a multiple of this; else it copies."""
COPY_FROM_BYTES = 4096
"""Below this TensorFlow's own copy costs less than finding out whether it is needed."""
_STRING_BYTES = 72
"""What a string takes beside its text, at most: an object, and its place in a list and in an array."""

_LENGTH = struct.Struct("<I")


def decode_binary(name: str, dtype: DType, shape: tuple[int, ...], data: memoryview) -> Array:
    """The tensor of this shape that the bytes are, sharing their memory where it can.

    InvalidArgument, naming the input, unless the bytes are exactly those of such a tensor. The sizes, each counted as
    at least 1, have a product that fits memory addresses: requests with others are refused earlier.
    """
    if dtype.kind is Kind.STRING:
        return _decode_strings(name, shape, data)
    expected = math.prod(shape) * dtype.numpy.itemsize
    if len(data) != expected:
        raise InvalidArgument(
            f'input "{name}" has {len(data)} bytes of binary data, but {expected} are expected for shape '
            f"{shape_text(shape)} of {dtype.name}"
        )
    if dtype.kind is Kind.BOOLEAN:
        _check_booleans(name, data)
    return aligned(np.frombuffer(data, dtype.numpy)).reshape(shape)


def strings_bytes(shape: tuple[int, ...], size: int) -> int:
    """The most memory that a tensor of BYTES takes which is read from binary data of so many bytes."""
    return min(math.prod(shape), size // _LENGTH.size) * _STRING_BYTES + size


def encode_binary(array: Array) -> bytes | memoryview:
    """The bytes of a tensor; those of numbers are the tensor's own memory where it lies in one piece."""
    if array.dtype == object:
        return b"".join([piece for value in array.ravel() for piece in (_LENGTH.pack(len(value)), value)])
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def aligned(array: Array) -> Array:
    """The vector itself, or a copy of it where TensorFlow would otherwise make one, if not two."""
    if array.nbytes < COPY_FROM_BYTES or array.ctypes.data % ALIGNMENT == 0:
        return array
    room = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    lead = -room.ctypes.data % ALIGNMENT
    copy = room[lead : lead + array.nbytes].view(array.dtype)
    copy[:] = array
    return copy


def _check_booleans(name: str, data: memoryview) -> None:
    values = np.frombuffer(data, np.uint8)
    if values.size and values.max() > 1:
        raise InvalidArgument(f'input "{name}" has a byte {values.max()} in its binary data; a BOOL is 0 or 1')


def _decode_strings(name: str, shape: tuple[int, ...], data: memoryview) -> Array:
    count, size = math.prod(shape), len(data)
    if count * _LENGTH.size > size:
        raise InvalidArgument(
            f'input "{name}" has {size} bytes of binary data, too few for the {count} elements of BYTES of shape '
            f"{shape_text(shape)}"
        )
    values = []
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > size:
            raise InvalidArgument(f'input "{name}" has {index} elements of BYTES, but {count} are expected')
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > size:
            raise InvalidArgument(
                f'input "{name}" element {index} has a length of {position - start} bytes, but {size - start} are left'
            )
        values.append(bytes(data[start:position]))
    if position != size:
        raise InvalidArgument(
            f'input "{name}" has {size - position} bytes left over after {count} elements of BYTES, the number that '
            f"shape {shape_text(shape)} has"
        )
    return strings(values).reshape(shape)
