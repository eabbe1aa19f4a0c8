"""What a tensor of a signature looks like: name, dtype and shape, and the one table of dtypes."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""A tensor in memory. Strings are object arrays of bytes."""
_STRING_BYTES = 48
"""A reference and what a bytes object takes beside its text."""


class Kind(Enum):
    """How the values of a dtype are written in JSON."""

    DECIMAL = auto()
    INTEGER = auto()
    BOOLEAN = auto()
    STRING = auto()


@dataclass(frozen=True)
class DType:
    """One dtype. `name` is TensorFlow's, as error texts spell it; `proto` that of the DataType enum."""

    name: str
    proto: str
    kind: Kind
    numpy: np.dtype[Any]


def _dtype(name: str, kind: Kind, numpy: Any, proto: str = "") -> DType:
    return DType(name, proto or "DT_" + name.upper(), kind, np.dtype(numpy))


DTYPES: dict[str, DType] = {
    dtype.proto: dtype
    for dtype in (
        _dtype("half", Kind.DECIMAL, np.float16),
        _dtype("bfloat16", Kind.DECIMAL, ml_dtypes.bfloat16),
        _dtype("float", Kind.DECIMAL, np.float32),
        _dtype("double", Kind.DECIMAL, np.float64),
        _dtype("int8", Kind.INTEGER, np.int8),
        _dtype("int16", Kind.INTEGER, np.int16),
        _dtype("int32", Kind.INTEGER, np.int32),
        _dtype("int64", Kind.INTEGER, np.int64),
        _dtype("uint8", Kind.INTEGER, np.uint8),
        _dtype("uint16", Kind.INTEGER, np.uint16),
        _dtype("uint32", Kind.INTEGER, np.uint32),
        _dtype("uint64", Kind.INTEGER, np.uint64),
        _dtype("bool", Kind.BOOLEAN, np.bool_),
        _dtype("string", Kind.STRING, np.object_),
    )
}
"""Every dtype that can travel, by the name of its DataType enum value."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature.

    `shape` has None for a variable dimension and is None where the rank is unknown. `dtype` is None where the values
    cannot travel as JSON (resources, variants, complex numbers); `proto` then still tells what it is.
    """

    name: str
    proto: str
    shape: tuple[int | None, ...] | None

    @property
    def dtype(self) -> DType | None:
        return DTYPES.get(self.proto)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of `shape` is what the signature states."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want is None or want == got for want, got in zip(self.shape, shape, strict=True)
        )

    def shape_text(self) -> str:
        """The shape as error texts write it: `[-1,8,8]`, or `[?]` for unknown rank."""
        return "[?]" if self.shape is None else shape_text(tuple(-1 if n is None else n for n in self.shape))


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as error texts write it: `[2,3]`."""
    return "[" + ",".join(map(str, shape)) + "]"


def is_base64(name: str) -> bool:
    """Whether the strings of an output are written as base64, which upstream tells from its name."""
    return name.endswith("_bytes")


def memory_bytes(array: Array) -> int:
    """About what a tensor takes in memory; its strings without their text."""
    return array.size * _STRING_BYTES if array.dtype == object else array.nbytes


def strings(values: list[bytes]) -> Array:
    """A vector of strings."""
    vector = np.empty(len(values), dtype=object)
    vector[:] = values
    return vector
