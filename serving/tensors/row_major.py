"""JSON data of a tensor whose shape and dtype are stated beside it, as in the Open Inference Protocol.

The data is a list of the elements in row-major order, flat or nested as the shape is. Since some clients write every
number as a decimal, `3.0` is accepted for an integer and 0 and 1 for a boolean; what would change a value is not.
"""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from serving.errors import InvalidArgument
from serving.tensors.decode import decode_string
from serving.tensors.echo import echo, type_name
from serving.tensors.skim import can_skim, skim
from serving.tensors.spec import Array, DType, Kind, shape_text, strings
from serving.tensors.unread import Unread

EXACT = 2**53
"""Up to here every integer is a double, so that one written as a decimal is the one that was meant."""


def decode_row_major(name: str, dtype: DType, shape: tuple[int, ...], data: Any) -> Array:
    """The tensor of this shape from its JSON data; InvalidArgument names the input and the element that is wrong."""
    if type(data) is Unread:
        array = _skimmed(dtype, shape, data.text)
        if array is not None:
            return array
        data = data.parse()
    if type(data) is not list:
        raise InvalidArgument(f'input "{name}": data is {echo(data)}, a list of its elements is expected')
    items = _flatten(name, shape, data)
    try:
        return _VECTORS[dtype.kind](items, dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError, InvalidArgument):
        raise _first_wrong(name, dtype, items) from None


def _skimmed(dtype: DType, shape: tuple[int, ...], text: memoryview) -> Array | None:
    """The tensor from the text of its data; None for whatever is unusual, or wrong."""
    array = skim(text, dtype) if can_skim(dtype) else None
    if array is None or array.size != math.prod(shape) or array.ndim > len(shape):
        return None
    if array.shape[:-1] != shape[: array.ndim - 1] or (dtype.kind is Kind.DECIMAL and np.isinf(array).any()):
        return None
    return array.reshape(shape)


def _flatten(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    """The elements of flat or nested lists, of which the sizes must be those of the shape."""
    items, sizes = data, [len(data)]
    while items and type(items[0]) is list and len(sizes) < len(shape):
        if set(map(type, items)) != {list} or len(set(map(len, items))) != 1:
            raise InvalidArgument(f'input "{name}": the lists of data are not of one length at level {len(sizes)}')
        sizes.append(len(items[0]))
        items = list(chain.from_iterable(items))
    if len(items) != math.prod(shape):
        raise InvalidArgument(
            f'input "{name}": data has {len(items)} elements, but {math.prod(shape)} are expected for shape '
            f"{shape_text(shape)}"
        )
    if items and sizes[:-1] != list(shape[: len(sizes) - 1]):
        raise InvalidArgument(
            f'input "{name}": data has shape {shape_text(tuple(sizes))}, but the shape stated is {shape_text(shape)}'
        )
    return items


# Vectors of one kind; any of TypeError, ValueError, OverflowError and InvalidArgument when an element does not fit.


def _decimals(items: list[Any], dtype: DType) -> Array:
    _check_types(items, {int, float})
    values = np.array(items, dtype=np.float64)
    with np.errstate(over="ignore"):
        vector = values.astype(dtype.numpy)
    if np.isinf(vector).any() and not np.array_equal(np.isinf(vector), np.isinf(values)):
        raise OverflowError
    return vector


def _integers(items: list[Any], dtype: DType) -> Array:
    if set(map(type, items)) <= {int}:
        return np.array(items, dtype=dtype.numpy)
    _check_types(items, {int, float})
    return np.array([item if type(item) is int else _whole(item) for item in items], dtype=dtype.numpy)


def _whole(item: float) -> int:
    if not item.is_integer() or abs(item) > EXACT:
        raise ValueError
    return int(item)


def _booleans(items: list[Any], dtype: DType) -> Array:
    _check_types(items, {bool, int, float})
    if not {0, 1}.issuperset(items):
        raise ValueError
    return np.array(items, dtype=dtype.numpy)


def _strings(items: list[Any], dtype: DType) -> Array:
    return strings([decode_string(item) for item in items])


_VECTORS: dict[Kind, Callable[[list[Any], DType], Array]] = {
    Kind.DECIMAL: _decimals,
    Kind.INTEGER: _integers,
    Kind.BOOLEAN: _booleans,
    Kind.STRING: _strings,
}


def _check_types(items: list[Any], allowed: set[type]) -> None:
    if not set(map(type, items)) <= allowed:
        raise TypeError


def _first_wrong(name: str, dtype: DType, items: list[Any]) -> InvalidArgument:
    """The error of the first element that does not fit; there is one."""
    index = next(index for index, item in enumerate(items) if not _fits(item, dtype))
    return InvalidArgument(
        f'input "{name}": element {index} of data is {echo(items[index])} of type {type_name(items[index])}, '
        f"which is not a value of {dtype.name}"
    )


def _fits(item: Any, dtype: DType) -> bool:
    try:
        _VECTORS[dtype.kind]([item], dtype)
    except (TypeError, ValueError, OverflowError, InvalidArgument):
        return False
    return True
