"""The rows of a file, as predict requests have them: from JSON, npy or CSV.

- `.json`: the body of a predict request, or a list of rows
- `.jsonl`: one row a line
- `.npy`: an array whose dimension 0 are the rows, for a model with one input
- `.csv`: a header with the names of the inputs, then a row a line, each value a scalar
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import InvalidArgument
from serving.tensors.parse import parse
from serving.tensors.spec import DTYPES, Kind

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SCALARS: Mapping[Kind, Callable[[str], Any]] = {
    Kind.DECIMAL: float,
    Kind.INTEGER: int,
    Kind.BOOLEAN: lambda text: _BOOLEANS[text.strip().lower()],
    Kind.STRING: str,
}


@dataclass(frozen=True)
class Rows:
    """Rows to be asked in parts, and how many there are."""

    count: int
    rows: Iterator[Any]

    def parts(self, size: int) -> Iterator[list[Any]]:
        while part := list(islice(self.rows, size)):
            yield part


def read_rows(file: Path, inputs: Mapping[str, str]) -> Rows | dict[str, Any]:
    """The rows of a file, or the whole request where it holds one. `inputs` are the DataTypes of the model's inputs.

    InvalidArgument says what is wrong with the file, and in which line.
    """
    if file.suffix not in _READERS:
        raise InvalidArgument(f"{file}: give a file that ends in {', '.join(_READERS)}")
    return _READERS[file.suffix](file, inputs)


def _from_json(file: Path, _inputs: Mapping[str, str]) -> Rows | dict[str, Any]:
    document = parse(file.read_bytes())
    if isinstance(document, list):
        return Rows(len(document), iter(document))
    if not isinstance(document, dict):
        raise InvalidArgument(f"{file}: neither a list of rows nor the body of a predict request")
    if "signature_name" not in document and isinstance(document.get("instances"), list):
        return Rows(len(document["instances"]), iter(document["instances"]))
    return document


def _from_lines(file: Path, _inputs: Mapping[str, str]) -> Rows:
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


def _from_npy(file: Path, _inputs: Mapping[str, str]) -> Rows:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InvalidArgument(f"{file}: {error}") from None
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "biufU":
        raise InvalidArgument(f"{file}: not an array of rows of numbers, booleans or texts")
    return Rows(len(array), (row.tolist() for row in array))


def _from_csv(file: Path, inputs: Mapping[str, str]) -> Rows:
    def rows() -> Iterator[Any]:
        with file.open(encoding="utf-8", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            _check_header(file, reader.fieldnames or (), inputs)
            readers = {name: _scalar_reader(dtype) for name, dtype in inputs.items()}
            for row in reader:
                yield _typed_row(file, reader.line_num, row, readers)

    return Rows(_count(rows()), rows())


def _check_header(file: Path, names: Sequence[str], inputs: Mapping[str, str]) -> None:
    if sorted(names) != sorted(inputs):
        raise InvalidArgument(f"{file}: the columns are {', '.join(names)}, the model takes {', '.join(inputs)}")


def _typed_row(file: Path, line: int, row: dict[str, Any], readers: Mapping[str, Callable[[str], Any]]) -> Any:
    typed = {}
    for name, read in readers.items():
        try:
            typed[name] = read(row[name])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidArgument(f"{file} line {line}: column {name} cannot be {row[name]!r}") from None
    if None in row:
        raise InvalidArgument(f"{file} line {line}: more values than columns")
    return typed


def _scalar_reader(dtype: str) -> Callable[[str], Any]:
    return _SCALARS[DTYPES[dtype].kind if dtype in DTYPES else Kind.STRING]


def _count(rows: Iterator[Any]) -> int:
    return sum(1 for _ in rows)


_READERS: Mapping[str, Callable[[Path, Mapping[str, str]], Rows | dict[str, Any]]] = {
    ".json": _from_json,
    ".jsonl": _from_lines,
    ".npy": _from_npy,
    ".csv": _from_csv,
}
