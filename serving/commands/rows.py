"""The rows of a file, as predict requests have them: from JSON, npy or CSV.

- `.json`: the body of a predict request, or a list of rows
- `.jsonl`: one row a line
- `.npy`: an array whose dimension 0 are the rows, for a model with one input
- `.csv`: a header, then a row a line, as the server takes tables
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from serving.commands.remote import PICTURES
from serving.errors import InvalidArgument
from serving.inputs.table import ENCODING, layout_of, read_table
from serving.tensors.parse import parse
from serving.tensors.spec import Array, TensorSpec

Inputs = Mapping[str, TensorSpec]


@dataclass(frozen=True)
class Rows:
    """Rows to be asked in parts, and how many there are."""

    count: int
    rows: Iterator[Any]

    def parts(self, size: int) -> Iterator[list[Any]]:
        while part := list(islice(self.rows, size)):
            yield part


def read_rows(file: Path, inputs: Inputs) -> Rows | dict[str, Any]:
    """The rows of a file, or the whole request where it holds one. `inputs` are those of the model.

    InvalidArgument says what is wrong with the file, and in which line or row.
    """
    if file.suffix not in _READERS:
        raise InvalidArgument(f"{file}: give a file that ends in {', '.join([*_READERS, *PICTURES])}")
    return _READERS[file.suffix](file, inputs)


def _from_json(file: Path, _inputs: Inputs) -> Rows | dict[str, Any]:
    document = parse(file.read_bytes())
    if isinstance(document, list):
        return Rows(len(document), iter(document))
    if not isinstance(document, dict):
        raise InvalidArgument(f"{file}: neither a list of rows nor the body of a predict request")
    if "signature_name" not in document and isinstance(document.get("instances"), list):
        return Rows(len(document["instances"]), iter(document["instances"]))
    return document


def _from_lines(file: Path, _inputs: Inputs) -> Rows:
    def rows() -> Iterator[Any]:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parsed_line(file, number, line)

    return Rows(_count(rows()), rows())


def _parsed_line(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidArgument(f"{file} line {number}: {error}") from None


def _from_npy(file: Path, _inputs: Inputs) -> Rows:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InvalidArgument(f"{file}: {error}") from None
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "biufU":
        raise InvalidArgument(f"{file}: not an array of rows of numbers, booleans or texts")
    return Rows(len(array), (row.tolist() for row in array))


def _from_csv(file: Path, inputs: Inputs) -> Rows:
    layout = layout_of(inputs)

    def rows() -> Iterator[Any]:
        with file.open(encoding=ENCODING, newline="") as opened:
            for block in read_table(opened, layout):
                columns = {name: _plain(array) for name, array in block.items()}
                if layout.vector_size:
                    yield from next(iter(columns.values()))
                else:
                    yield from (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))

    return Rows(_count(rows()), rows())


def _plain(array: Array) -> list[Any]:
    """A row for each row of the tensor, of what JSON has."""
    if array.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(array).tolist() if array.size else []
    return list((array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array).tolist())


def _count(rows: Iterator[Any]) -> int:
    return sum(1 for _ in rows)


_READERS: Mapping[str, Callable[[Path, Inputs], Rows | dict[str, Any]]] = {
    ".json": _from_json,
    ".jsonl": _from_lines,
    ".npy": _from_npy,
    ".csv": _from_csv,
}
