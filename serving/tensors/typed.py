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
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from serving.tensors.spec import Array, TensorSpec

_TYPES = dict.fromkeys("efd", float) | dict.fromkeys("bBhHiIlLqQ", int) | {"?": bool, "O": str}
"""What msgspec makes, by numpy's letters for dtypes. The letters of numbers mean the same to `struct`."""
_REFUSALS = (ValueError, OverflowError, struct.error)
"""For values of other types, beyond the range, and in lists of different lengths."""


class TypedReader:
    """Reads the tensors of one signature's inputs from JSON text. May be used by several threads at once."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        """ValueError for inputs that have no such types."""
        self._row_fields = _fields(specs, 1)
        self._column_fields = _fields(specs, 0)
        self._groups = _groups([field for field in self._row_fields if not field.levels])
        self._rows = msgspec.json.Decoder(list[_value_type(self._row_fields)])  # type: ignore[misc]
        self._columns = msgspec.json.Decoder(_value_type(self._column_fields))

    def rows(self, text: memoryview) -> dict[str, Array] | None:
        """The tensors of a list of rows, stacked into a new dimension 0; None for another value."""
        try:
            return self._stacked(self._rows.decode(text))
        except _REFUSALS:
            return None

    def columns(self, text: memoryview) -> dict[str, Array] | None:
        """The tensors of an object of whole ones, or of the value of the only one; None for another value."""
        try:
            value = self._columns.decode(text)
            values = astuple(value) if isinstance(value, msgspec.Struct) else (value,)
            return {field.name: _tensor([values[field.place]], field)[0, ...] for field in self._column_fields}
        except _REFUSALS:
            return None

    def _stacked(self, rows: list[Any]) -> dict[str, Array]:
        """The tensors of rows, which are all objects or all bare values; ValueError for none, and for a mixture."""
        fields = self._row_fields
        (kind,) = set(map(type, rows))
        if not issubclass(kind, msgspec.Struct):
            return {fields[0].name: _tensor(rows, fields[0])}
        values = list(chain.from_iterable(map(astuple, rows)))
        tensors = {field.name: _tensor(values[field.place :: len(fields)], field) for field in fields if field.levels}
        for group in self._groups:
            vectors = _vectors([values[field.place :: len(fields)] for field in group], group[0].dtype)
            tensors.update(zip([field.name for field in group], vectors, strict=True))
        return tensors


@dataclass(frozen=True)
class _Field:
    """One input: its place among the inputs, and how many lists deep its values are written."""

    name: str
    place: int
    dtype: np.dtype[Any]
    levels: int


def _fields(specs: Mapping[str, TensorSpec], outer: int) -> list[_Field]:
    """The inputs of a signature, whose values are inside of `outer` lists; ValueError for inputs of another kind."""
    fields = []
    for place, spec in enumerate(specs.values()):
        if spec.dtype is None or spec.dtype.numpy.char not in _TYPES or spec.shape is None or spec.name == "b64":
            raise ValueError(f"{spec.name} has no type that tells all")  # an object that holds "b64" may be base64
        fields.append(_Field(spec.name, place, spec.dtype.numpy, max(len(spec.shape) - outer, 0)))
    if not fields:
        raise ValueError("there are no inputs")
    return fields


def _groups(fields: list[_Field]) -> list[list[_Field]]:
    """The fields of each dtype."""
    return [[field for field in fields if field.dtype == dtype] for dtype in {field.dtype: None for field in fields}]


def _value_type(fields: list[_Field]) -> Any:
    """An object of all fields by name; of a single one also the bare value."""
    names = {f"f{field.place}": field.name for field in fields}
    types = [(f"f{field.place}", _listed(_TYPES[field.dtype.char], field.levels)) for field in fields]
    named = msgspec.defstruct("Named", types, rename=names, forbid_unknown_fields=True, gc=False)
    return named | types[0][1] if len(fields) == 1 else named


def _listed(type_: Any, levels: int) -> Any:
    return _listed(list[type_], levels - 1) if levels else type_


def _tensor(values: list[Any], field: _Field) -> Array:
    """Values stacked into a new dimension 0; ValueError for ragged ones."""
    shape = [len(values)]
    for _ in range(field.levels):
        (size,) = set(map(len, values))
        shape.append(size)
        values = list(chain.from_iterable(values))
    return _vectors([values], field.dtype).reshape(shape)


def _vectors(columns: list[list[Any]], dtype: np.dtype[Any]) -> Array:
    """A matrix with a row for each of several lists of one length; OverflowError or struct.error beyond the range."""
    matrix = np.empty((len(columns), len(columns[0])), dtype)
    if dtype.kind == "O":
        for vector, column in zip(matrix, columns, strict=True):
            vector[:] = list(map(str.encode, column))
    else:
        packer = struct.Struct(f"{len(columns[0])}{dtype.char}")
        for number, column in enumerate(columns):
            packer.pack_into(matrix.data, number * packer.size, *column)
    return matrix
