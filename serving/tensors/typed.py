"""The fast way in for everything but one large tensor of numbers: JSON read by the types of a signature.

    [{"age": 41, "amount": 12.5, "country": "FR"}, ...]                      rows of named values
    [[5.1, 3.5, 1.4, 0.2]]                                                   rows of the only input
    {"age": [41, ...], "amount": [12.5, ...], "country": ["FR", ...]}        columns
    [{"b64": "aGk="}, {"b64": "eW8="}]                                       strings as base64

msgspec makes the values and checks their types in one pass: there is no dictionary for each row, no text of what is
base64, and no second look at each value. A text is read so when it has the names and ranks of the signature and nothing
unusual. Whatever else there is (base64 without padding, other ranks and keys, ragged lists, NaN, numbers that do not
fit, errors) gives None, and is to be read the careful way.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec.json import Decoder
from msgspec.structs import astuple

from serving.tensors.spec import Array, TensorSpec


class _Base64(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A string that is written as base64, decoded."""

    b64: bytes


_TYPES = dict.fromkeys("efd", float) | dict.fromkeys("bBhHiIlLqQ", int) | {"?": bool, "O": str | _Base64}
"""What msgspec makes, by numpy's letters for dtypes. The letters of numbers mean the same to `struct`."""
_REFUSALS = (ValueError, OverflowError, struct.error)
"""For values of other types, beyond the range, and in lists of different lengths."""
_Way = tuple[Decoder[Any], Callable[[Any], dict[str, Array]]]
"""What reads a text, and what makes tensors of that. A way that does not fit ends at the first row.

Bare values and objects of named ones are read apart, since msgspec cannot tell base64 from a row.
"""


class TypedReader:
    """Reads the tensors of one signature's inputs from JSON text. May be used by several threads at once."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        """ValueError for inputs that have no such types."""
        self._row_fields, self._column_fields = _fields(specs, 1), _fields(specs, 0)
        self._groups = _groups([field for field in self._row_fields if not field.levels])
        self._row_ways: list[_Way] = [(_rows_decoder(_named_type(self._row_fields)), self._named_rows)]
        self._column_ways: list[_Way] = [(Decoder(_named_type(self._column_fields)), self._named_columns)]
        if len(specs) == 1:
            self._row_ways.insert(0, (_rows_decoder(_type(self._row_fields[0])), self._bare_rows))
            self._column_ways.insert(0, (Decoder(_type(self._column_fields[0])), self._bare_column))

    def rows(self, text: memoryview) -> dict[str, Array] | None:
        """The tensors of a list of rows, stacked into a new dimension 0; None for another value."""
        return _first(self._row_ways, text)

    def columns(self, text: memoryview) -> dict[str, Array] | None:
        """The tensors of an object of whole ones, or of the value of the only one; None for another value."""
        return _first(self._column_ways, text)

    def _bare_rows(self, rows: list[Any]) -> dict[str, Array]:
        (field,) = self._row_fields
        return {field.name: _tensor(rows, field)}

    def _named_rows(self, rows: list[msgspec.Struct]) -> dict[str, Array]:
        fields = self._row_fields
        values = list(chain.from_iterable(map(astuple, rows)))
        tensors = {field.name: _tensor(values[field.place :: len(fields)], field) for field in fields if field.levels}
        for group in self._groups:
            vectors = _vectors([values[field.place :: len(fields)] for field in group], group[0].dtype)
            tensors.update(zip([field.name for field in group], vectors, strict=True))
        return tensors

    def _bare_column(self, value: Any) -> dict[str, Array]:
        (field,) = self._column_fields
        return {field.name: _tensor([value], field)[0, ...]}

    def _named_columns(self, columns: msgspec.Struct) -> dict[str, Array]:
        values = astuple(columns)
        return {field.name: _tensor([values[field.place]], field)[0, ...] for field in self._column_fields}


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


def _named_type(fields: list[_Field]) -> Any:
    """An object of all fields by name."""
    names = {f"f{field.place}": field.name for field in fields}
    types = [(f"f{field.place}", _type(field)) for field in fields]
    return msgspec.defstruct("Named", types, rename=names, forbid_unknown_fields=True, gc=False)


def _type(field: _Field) -> Any:
    """The bare value of a field."""
    type_: Any = _TYPES[field.dtype.char]
    for _ in range(field.levels):
        type_ = list[type_]
    return type_


def _rows_decoder(row: Any) -> Decoder[Any]:
    return Decoder(Annotated[list[row], msgspec.Meta(min_length=1)])


def _first(ways: list[_Way], text: memoryview) -> dict[str, Array] | None:
    """What the first way makes that takes the text; None where none does."""
    for decoder, tensors_of in ways:
        try:
            return tensors_of(decoder.decode(text))
        except _REFUSALS:
            continue
    return None


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
            vector[:] = _encoded(column)
    else:
        packer = _packer(len(columns[0]), dtype.char)
        for number, column in enumerate(columns):
            packer.pack_into(matrix.data, number * packer.size, *column)
    return matrix


@lru_cache(maxsize=256)
def _packer(count: int, letter: str) -> struct.Struct:
    return struct.Struct(f"{count}{letter}")


def _encoded(values: list[Any]) -> list[bytes]:
    try:
        return list(map(str.encode, values))
    except TypeError:  # some are base64
        return [value.b64 if type(value) is _Base64 else value.encode() for value in values]
