"""The fast way in for everything but one large tensor of numbers: JSON read by the types of a signature.

    [{"age": 41, "amount": 12.5, "country": "FR"}, ...]                      rows of named values
    [[5.1, 3.5, 1.4, 0.2]]                                                   rows of the only input
    {"age": [41, ...], "amount": [12.5, ...], "country": ["FR", ...]}        columns

msgspec makes the values and checks their types in one pass: there is no dictionary for each row, and no second look at
each value. A text is read so when it has the names and ranks of the signature and nothing unusual. Whatever else there
is (base64, other ranks and keys, ragged lists, NaN, numbers that do not fit, errors) gives None, and is to be
read the careful way.
"""

import struct
from collections.abc import Mapping
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from serving.tensors.spec import Array, DType, Kind, TensorSpec

_TYPES: dict[Kind, type] = {Kind.DECIMAL: float, Kind.INTEGER: int, Kind.BOOLEAN: bool, Kind.STRING: str}
_PACKED = "?bBhHiIlLqQefd"
"""The dtypes that `struct` packs as numpy lays them out, by the letter that both have for them."""
_REFUSALS = (ValueError, OverflowError, struct.error)
"""For values of other types, beyond the range, and in lists of different lengths."""


class TypedReader:
    """Reads the tensors of one signature's inputs from JSON text. May be used by several threads at once."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        """ValueError for inputs that have no such types."""
        self._row_fields = [_Field(spec, 1) for spec in specs.values()]
        self._column_fields = [_Field(spec, 0) for spec in specs.values()]
        self._rows = msgspec.json.Decoder(list[_value_type(self._row_fields)])  # type: ignore[misc]
        self._columns = msgspec.json.Decoder(_value_type(self._column_fields))

    def rows(self, text: memoryview) -> dict[str, Array] | None:
        """The tensors of a list of rows, stacked into a new dimension 0; None for another value."""
        try:
            return _stacked(self._rows.decode(text), self._row_fields)
        except _REFUSALS:
            return None

    def columns(self, text: memoryview) -> dict[str, Array] | None:
        """The tensors of an object of whole ones, or of the value of the only one; None for another value."""
        try:
            return _whole(self._columns.decode(text), self._column_fields)
        except _REFUSALS:
            return None


class _Field:
    """One input: how its values are written, inside of `outer` lists."""

    def __init__(self, spec: TensorSpec, outer: int) -> None:
        if spec.dtype is None or spec.shape is None:
            raise ValueError("no type says what its values are")
        if spec.dtype.kind is not Kind.STRING and spec.dtype.numpy.char not in _PACKED:
            raise ValueError("not packed by struct")
        self.name = spec.name
        self.dtype: DType = spec.dtype
        self.levels = max(len(spec.shape) - outer, 0)
        self.type = _listed(_TYPES[spec.dtype.kind], self.levels)


def _listed(type_: Any, levels: int) -> Any:
    return _listed(list[type_], levels - 1) if levels else type_


def _value_type(fields: list[_Field]) -> Any:
    """An object of all fields by name; of a single one also the bare value."""
    if not fields:
        raise ValueError("nothing to read")
    if any(field.name == "b64" for field in fields):
        raise ValueError("an object with that name may be base64")
    names = {f"f{number}": field.name for number, field in enumerate(fields)}
    types = [(key, field.type) for key, field in zip(names, fields, strict=True)]
    named = msgspec.defstruct("Named", types, rename=names, forbid_unknown_fields=True, gc=False)
    return named | fields[0].type if len(fields) == 1 else named


def _stacked(rows: list[Any], fields: list[_Field]) -> dict[str, Array]:
    """The tensors of rows, which are all objects or all bare values; ValueError for none, and for a mixture."""
    (kind,) = set(map(type, rows))
    if not issubclass(kind, msgspec.Struct):
        return {field.name: _tensor(rows, field) for field in fields}
    values = list(chain.from_iterable(map(astuple, rows)))
    return {field.name: _tensor(values[number :: len(fields)], field) for number, field in enumerate(fields)}


def _whole(value: Any, fields: list[_Field]) -> dict[str, Array]:
    """The tensors of one object of them, or the only tensor."""
    values = astuple(value) if isinstance(value, msgspec.Struct) else (value,)
    tensors = {field.name: _tensor([value], field) for field, value in zip(fields, values, strict=True)}
    return {name: tensor.reshape(tensor.shape[1:]) for name, tensor in tensors.items()}


def _tensor(values: list[Any], field: _Field) -> Array:
    """Values stacked into a new dimension 0; ValueError for ragged ones, OverflowError or struct.error out of range."""
    shape = [len(values)]
    for _ in range(field.levels):
        (size,) = set(map(len, values))
        shape.append(size)
        values = list(chain.from_iterable(values))
    if field.dtype.kind is Kind.STRING:
        return np.fromiter(map(str.encode, values), object, len(values)).reshape(shape)
    array = np.empty(shape, field.dtype.numpy)
    struct.pack_into(f"{len(values)}{field.dtype.numpy.char}", array.data, 0, *values)
    return array
