"""JSON values to tensors, by the rules of TensorFlow Serving's REST API.

The shape follows from the first element at each level and is not compared with the signature; every other element must
agree with it. What a dtype accepts is exact: no string becomes a number, no boolean an integer, no number is rounded or
wrapped to fit (a decimal may lose precision to its dtype, and beyond its range becomes an infinity).

Each value is first read in bulk, level by level; when that refuses, it is read again element by element, in upstream's
order, to say what is wrong and where.
"""

import binascii
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from serving.errors import InvalidArgument, ServingError, Unimplemented
from serving.tensors.echo import cut, echo, type_name
from serving.tensors.spec import Array, DType, Kind, TensorSpec, shape_text

MAX_RANK = 64
"""The most dimensions that numpy can hold."""

NAMES_LIMIT = 1024
"""Bytes of the names of inputs that an error text lists at most."""

_PLAIN_ROWS = (
    "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
)
_PLAIN_COLUMN = (
    "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
)
_NO_INPUTS = 'The signature has no inputs; "inputs": {} calls it'
_JSON_TYPES: dict[Kind, set[type]] = {Kind.DECIMAL: {int, float}, Kind.INTEGER: {int}, Kind.BOOLEAN: {bool}}
_WHITE_SPACE = str.maketrans("", "", " \t\r\n\v\f")


def decode_rows(instances: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """The tensors of row format: elements of one shape, stacked into a new dimension 0.

    `instances` is not empty. Its first element decides: an object other than `{"b64": "..."}` makes every element an
    object with exactly the names of `specs`; else every element is a value or list of the only input.
    """
    named = _is_named_row(instances[0])
    if not named and len(specs) != 1:
        raise InvalidArgument(_PLAIN_ROWS if specs else _NO_INPUTS)
    tensors = _bulk_rows(instances, specs) if named else _bulk_only(instances, specs)
    return tensors if tensors is not None else _careful_rows(instances, specs, named)


def decode_columns(inputs: Any, specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """The tensors of column format: an object of whole tensors by name, or the value of the only input.

    Names that the signature does not have are ignored; a missing one is an error.
    """
    if not _is_named_row(inputs):
        if len(specs) != 1:
            raise InvalidArgument(_PLAIN_COLUMN if specs else _NO_INPUTS)
        return {name: decode_tensor(inputs, spec) for name, spec in specs.items()}
    for name in specs:
        if name not in inputs:
            raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
    return {name: decode_tensor(inputs[name], spec) for name, spec in specs.items()}


def decode_tensor(value: Any, spec: TensorSpec) -> Array:
    """One tensor from a JSON value: a scalar, or lists nested as deep as the tensor's rank."""
    array = _bulk(value, spec.dtype)
    return array if array is not None else _careful(value, spec)


def _known_dtype(value: Any, spec: TensorSpec) -> DType:
    if spec.dtype is None:
        name = spec.proto.removeprefix("DT_").lower()
        raise Unimplemented(f"Conversion of JSON Value: {echo(value)} to type: {name}")
    return spec.dtype


def is_base64(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def _is_named_row(value: Any) -> bool:
    return type(value) is dict and not is_base64(value)


# Read in bulk: nothing here explains, None means that the value is not as it should be.


def _bulk_only(instances: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array] | None:
    ((name, spec),) = specs.items()
    array = _bulk(instances, spec.dtype)
    return None if array is None else {name: array}


def _bulk_rows(instances: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array] | None:
    if set(map(type, instances)) != {dict} or set(map(len, instances)) != {len(specs)}:
        return None
    if list(specs) == ["b64"]:
        return None  # a row may be base64 rather than an object with that name
    tensors = {}
    for name, spec in specs.items():
        try:
            array = _bulk([row[name] for row in instances], spec.dtype)
        except KeyError:
            return None
        if array is None:
            return None
        tensors[name] = array
    return tensors


def _bulk(value: Any, dtype: DType | None) -> Array | None:
    if dtype is None:
        return None
    shape: list[int] = []
    items: list[Any] = [value]
    while items and type(items[0]) is list:
        if len(shape) == MAX_RANK or set(map(type, items)) != {list} or len(sizes := set(map(len, items))) != 1:
            return None
        shape += sizes
        items = list(chain.from_iterable(items))
    try:
        return _flat(items, dtype).reshape(shape)
    except (InvalidArgument, OverflowError):
        return None


def _flat(items: list[Any], dtype: DType) -> Array:
    """A vector of JSON scalars; OverflowError or InvalidArgument when one of them does not fit."""
    if dtype.kind is Kind.STRING:
        strings = np.empty(len(items), dtype=object)
        strings[:] = [decode_string(item) for item in items]
        return strings
    if not set(map(type, items)) <= _JSON_TYPES[dtype.kind]:
        raise InvalidArgument("of another type")
    if dtype.kind is Kind.DECIMAL:
        with np.errstate(over="ignore"):
            return np.array(items, dtype=np.float64).astype(dtype.numpy)
    return np.array(items, dtype=dtype.numpy)


def decode_string(value: Any) -> bytes:
    """The bytes of a JSON string, or of `{"b64": "..."}`: standard alphabet, padding optional, white space ignored."""
    if type(value) is str:
        return value.encode()
    if not is_base64(value):
        raise InvalidArgument(f"JSON Value: {echo(value)} not formatted correctly for base64 data")
    try:
        return binascii.a2b_base64(value["b64"], strict_mode=True)
    except ValueError:
        return _unusual_base64(value["b64"])


def _unusual_base64(text: str) -> bytes:
    text = text.translate(_WHITE_SPACE)
    padding = "" if "=" in text else "=" * (-len(text) % 4)
    try:
        return binascii.a2b_base64(text + padding, strict_mode=True)
    except ValueError:
        raise InvalidArgument("Unable to base64 decode") from None


# Read with care: element by element, to say what is wrong.


def _careful(value: Any, spec: TensorSpec) -> Array:
    shape = _leading_shape(value)
    return _flat(_elements(value, shape, spec), _known_dtype(value, spec)).reshape(shape)


def _careful_rows(instances: list[Any], specs: Mapping[str, TensorSpec], named: bool) -> dict[str, Array]:
    columns: dict[str, list[Any]] = {name: [] for name in specs}
    shapes: dict[str, tuple[int, ...]] = {}
    for index, instance in enumerate(instances):
        if _is_named_row(instance) != named:
            raise InvalidArgument(
                f"Expecting object but got list at item {index} of input list"
                if named
                else f"Expecting value/list but got object at item {index} of input list"
            )
        for name, value in instance.items() if named else ((next(iter(specs)), instance),):
            try:
                columns[_known_name(name, specs)] += _row_elements(value, specs[name], shapes)
            except ServingError as error:
                key = f" key: {cut(name)}" if named else ""
                raise InvalidArgument(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: {error.code}: {error.message}"
                ) from None
        if named and instance.keys() != specs.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {echo(instance)} "
                f"keys must be equal to: {cut(','.join(sorted(specs)), NAMES_LIMIT)}"
            )
    return {
        name: _flat(items, _known_dtype(items, specs[name])).reshape((len(instances), *shapes[name]))
        for name, items in columns.items()
    }


def _known_name(name: str, specs: Mapping[str, TensorSpec]) -> str:
    if name not in specs:
        raise InvalidArgument(f"JSON object: does not have named input: {cut(name)}")
    return name


def _row_elements(value: Any, spec: TensorSpec, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    """The elements of one row, whose shape must be that of the first row, which is noted in `shapes`."""
    shape = _leading_shape(value, outer=1)
    items = _elements(value, shape, spec)
    first = shapes.setdefault(spec.name, shape)
    if math.prod(first) != len(items):
        raise InvalidArgument(f"Expecting tensor size: {math.prod(first)} but got: {len(items)}")
    if first != shape:
        raise InvalidArgument(f"Expecting shape {shape_text(first)} but got: {shape_text(shape)}")
    return items


def _leading_shape(value: Any, outer: int = 0) -> tuple[int, ...]:
    """The sizes of the first list at each level of a value that is itself inside `outer` lists."""
    shape: list[int] = []
    while type(value) is list:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    depth = outer + len(shape)
    if depth > MAX_RANK:
        raise InvalidArgument(f"Lists are nested {depth} deep; a tensor has at most {MAX_RANK} dimensions")
    return tuple(shape)


def _elements(value: Any, shape: tuple[int, ...], spec: TensorSpec) -> list[Any]:
    """The scalars of a value whose lists must have the sizes of `shape`, each checked against the dtype."""
    items: list[Any] = []
    _collect(value, shape, spec, (), items)
    return items


def _collect(value: Any, shape: tuple[int, ...], spec: TensorSpec, index: tuple[int, ...], items: list[Any]) -> None:
    level, rank = len(index), len(shape)
    if type(value) is not list:
        if level != rank:
            raise InvalidArgument(
                f"JSON Value: {echo(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}{_place(spec, index)}"
            )
        _check_element(value, spec, index)
        items.append(value)
        return
    if level >= rank:
        raise InvalidArgument(f"Encountered list at unexpected level: {level} expected < {rank}{_place(spec, index)}")
    if len(value) != shape[level]:
        raise InvalidArgument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}{_place(spec, index)}"
        )
    if level + 1 == rank and _fits(value, spec.dtype):
        items += value
        return
    for position, element in enumerate(value):
        _collect(element, shape, spec, (*index, position), items)


def _fits(items: list[Any], dtype: DType | None) -> bool:
    """Whether all of a list are scalars of the dtype; the innermost lists that are as they should be end here."""
    array = _bulk(items, dtype)
    return array is not None and array.ndim == 1


def _check_element(value: Any, spec: TensorSpec, index: tuple[int, ...]) -> None:
    dtype = _known_dtype(value, spec)
    try:
        _flat([value], dtype)
    except OverflowError:
        limits = np.iinfo(dtype.numpy)
        holds = f", which holds {limits.min} to {limits.max}"
        raise InvalidArgument(_mismatch(value, dtype) + _place(spec, index) + holds) from None
    except InvalidArgument as error:
        of_base64 = dtype.kind is Kind.STRING and type(value) is dict
        what = error.message if of_base64 else _mismatch(value, dtype)
        raise InvalidArgument(what + _place(spec, index)) from None


def _mismatch(value: Any, dtype: DType) -> str:
    return f"JSON Value: {echo(value)} Type: {type_name(value)} is not of expected type: {dtype.name}"


def _place(spec: TensorSpec, index: Sequence[int]) -> str:
    """Where an error is, for people; it follows upstream's text."""
    return f' (input "{spec.name}"' + (f", index {shape_text(tuple(index))})" if index else ")")
