"""Tables as CSV: a header with the names of the columns, then a row for each row of the tensors.

    age,city
    41,Bern
    27,"Paris, France"

Each input of one value a row, `[-1]` or `[-1, 1]`, is the column of its name. A signature with a single input of k
values a row, `[-1, k]`, takes k columns of any names, in their order. Cells are read by the dtype of their input,
exactly: nothing is rounded to an integer, an empty cell is no number. Text is UTF-8, with or without a byte order mark;
lines end as they like.

Rows are read and converted a block at a time, so that a body costs little more memory than its tensors.
"""

import base64
import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import IO, Any

import numpy as np
import orjson

from serving.errors import InvalidArgument, NotAcceptable, UnsupportedMediaType
from serving.tensors.cost import answer_bytes
from serving.tensors.echo import cut
from serving.tensors.encode import NonFinite, check_rows, encode_flat
from serving.tensors.spec import Array, DType, Kind, TensorSpec, shape_text, strings

ENCODING = "utf-8-sig"
MAX_LINE_CHARACTERS = 4 * 1024 * 1024
BLOCK_CELLS = 65536
"""How many cells are held as text at a time."""
SHOWN_CHARACTERS = 64
"""How much of a cell or a name an error text repeats."""
NAMES_CHARACTERS = 1024

_WRITTEN_CELL_BYTES = 128
"""What a cell takes while it is written, beside what it takes as JSON."""
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

Heed = Callable[[], None]
"""Called now and then while much is read; raises what shall end that."""


@dataclass(frozen=True)
class Layout:
    """How columns become inputs: one column each, by name, or all of them the values of the only input, in order."""

    specs: tuple[TensorSpec, ...]
    vector_size: int = 0
    """How many columns the only input takes; 0 where each input is a column."""


def layout_of(specs: Mapping[str, TensorSpec]) -> Layout:
    """The layout of tables for these inputs; UnsupportedMediaType where no table can hold them."""
    if specs and all(_is_column(spec) for spec in specs.values()):
        return Layout(tuple(specs.values()))
    only = next(iter(specs.values())) if len(specs) == 1 else None
    if only is not None and only.dtype is not None and only.shape is not None and len(only.shape) == 2:
        size = only.shape[1]
        if size is not None:
            return Layout((only,), size)
    texts = [f'"{spec.name}" of shape {spec.shape_text()}' for spec in specs.values() if not _is_column(spec)]
    raise UnsupportedMediaType(
        "text/csv is for inputs of one value a row, or for a single input of a fixed number of values a row, "
        + (f"not for {cut(', '.join(texts), NAMES_CHARACTERS)}" if texts else "and this signature has no inputs")
    )


def _is_column(spec: TensorSpec) -> bool:
    shape = spec.shape
    return spec.dtype is not None and shape is not None and (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1))


def decode_csv(data: bytes, specs: Mapping[str, TensorSpec], heed: Heed = lambda: None) -> dict[str, Array]:
    """The tensors of a table, one row at least; InvalidArgument names the row and the column that are wrong."""
    text = io.TextIOWrapper(io.BytesIO(data), ENCODING, newline="")
    blocks = list(read_table(text, layout_of(specs), heed))
    if not blocks:
        raise InvalidArgument("the CSV has no rows behind its header")
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def read_table(text: IO[str], layout: Layout, heed: Heed = lambda: None) -> Iterator[dict[str, Array]]:
    """The tensors of a table, so many rows at a time that they have BLOCK_CELLS cells.

    The text is opened with ENCODING, and with its lines as they end.
    """
    lines = iter(partial(text.readline, MAX_LINE_CHARACTERS), "")  # one that is cut in two gives two rows too short
    reader = csv.reader(lines, strict=True)
    header = next(filter(None, iter(partial(_next_row, reader), None)), [])
    header = [name.strip() for name in header]
    places = _places(header, layout)
    done = 0
    for block in _blocks(reader, len(header)):
        heed()
        yield _tensors(block, header, places, layout, done)
        done += len(block)


def _next_row(reader: Any) -> list[str] | None:
    return next(iter(_next_rows(reader, 1)), None)


def _next_rows(reader: Any, count: int) -> list[list[str]]:
    """So many rows, or those that are left; InvalidArgument for what is no CSV."""
    try:
        return list(islice(reader, count))
    except csv.Error as error:
        raise InvalidArgument(f"CSV line {reader.line_num}: {error}") from None
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"the CSV is not UTF-8: {error.reason}") from None


def _blocks(reader: Any, width: int) -> Iterator[list[list[str]]]:
    """The rows of a table but for empty lines, each with `width` cells, BLOCK_CELLS cells at a time."""
    number = 0
    while block := _next_rows(reader, max(1, BLOCK_CELLS // width)):
        if set(map(len, block)) != {width}:
            block = [row for row in block if row]
            wrong = next((index for index, row in enumerate(block) if len(row) != width), None)
            if wrong is not None:
                raise InvalidArgument(
                    f"CSV row {number + wrong + 1} has {len(block[wrong])} cells, but the header has {width}"
                )
        if block:
            number += len(block)
            yield block


def _places(header: Sequence[str], layout: Layout) -> dict[str, int]:
    """Where the column of each input is; empty where all columns are one input. Raises what is wrong with a header."""
    wanted = [spec.name for spec in layout.specs]
    size = layout.vector_size
    if not header:
        raise InvalidArgument(f"the CSV is empty; its first row holds the names of the columns: {_listed(wanted)}")
    places = {name: place for place, name in enumerate(header)}
    if len(places) != len(header):
        twice = next(name for place, name in enumerate(header) if places[name] != place)
        raise InvalidArgument(f'CSV column "{cut(twice, SHOWN_CHARACTERS)}" is there twice')
    if not size:
        return {name: places[name] for name in _checked_names(header, wanted)}
    if len(header) != size:
        raise InvalidArgument(f'the CSV has {len(header)} columns, but input "{wanted[0]}" takes {size}')
    if all(map(_is_number, header)):
        raise InvalidArgument("the CSV begins with numbers; its first row holds the names of the columns")
    return {}


def _checked_names(header: Sequence[str], wanted: Sequence[str]) -> Sequence[str]:
    for name in header:
        if name not in wanted:
            raise InvalidArgument(
                f'CSV column "{cut(name, SHOWN_CHARACTERS)}" is no input; the inputs are {_listed(wanted)}'
            )
    for name in wanted:
        if name not in header:
            raise InvalidArgument(f'CSV column "{cut(name, SHOWN_CHARACTERS)}" is missing')
    return wanted


def _listed(names: Sequence[str]) -> str:
    return cut(", ".join(names), NAMES_CHARACTERS)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _tensors(
    rows: list[list[str]], header: Sequence[str], places: Mapping[str, int], layout: Layout, done: int
) -> dict[str, Array]:
    """The tensors of some rows, before which so many were read."""
    if layout.vector_size:
        (spec,) = layout.specs
        values = _values(list(chain.from_iterable(rows)), spec, header, done)
        return {spec.name: values.reshape(len(rows), layout.vector_size)}
    columns: list[Sequence[str]] = list(zip(*rows, strict=True))
    tensors = {}
    for spec in layout.specs:
        values = _values(columns[places[spec.name]], spec, (spec.name,), done)
        tensors[spec.name] = values.reshape(-1, 1) if len(spec.shape or ()) == 2 else values
    return tensors


def _values(cells: Sequence[str], spec: TensorSpec, columns: Sequence[str], done: int) -> Array:
    """A vector of cells, which are those of the columns, row by row."""
    assert spec.dtype is not None
    read = _READERS[spec.dtype.kind]
    try:
        return read(cells, spec.dtype)
    except (ValueError, OverflowError, KeyError):
        index = next(index for index, cell in enumerate(cells) if not _fits(cell, spec.dtype))
    row, column = divmod(index, len(columns))
    raise InvalidArgument(
        f'CSV row {done + row + 1}, column "{cut(columns[column], SHOWN_CHARACTERS)}": '
        f"{cut(repr(cells[index]), SHOWN_CHARACTERS)} is not a value of {spec.dtype.name}"
    )


def _fits(cell: str, dtype: DType) -> bool:
    try:
        _READERS[dtype.kind]([cell], dtype)
    except (ValueError, OverflowError, KeyError):
        return False
    return True


# Vectors of one kind; ValueError, OverflowError or KeyError when a cell does not fit.


def _decimals(cells: Sequence[str], dtype: DType) -> Array:
    _check_plain(cells)
    values = np.array(list(map(float, cells)), dtype=np.float64)
    with np.errstate(over="ignore"):
        vector = values.astype(dtype.numpy)
    if any("inf" not in cells[index].lower() for index in np.flatnonzero(np.isinf(vector)).tolist()):
        raise OverflowError
    return vector


def _integers(cells: Sequence[str], dtype: DType) -> Array:
    _check_plain(cells)
    return np.array(list(map(int, cells)), dtype=dtype.numpy)


def _booleans(cells: Sequence[str], dtype: DType) -> Array:
    return np.array([_BOOLEANS[cell.strip().lower()] for cell in cells], dtype=dtype.numpy)


def _strings(cells: Sequence[str], dtype: DType) -> Array:
    return strings([cell.encode() for cell in cells])


def _check_plain(cells: Sequence[str]) -> None:
    """Refuse what Python takes for numbers beside numbers: 1_000, and the digits of other scripts."""
    text = "".join(cells)
    if "_" in text or not text.isascii():
        raise ValueError


_READERS: dict[Kind, Callable[[Sequence[str], DType], Array]] = {
    Kind.DECIMAL: _decimals,
    Kind.INTEGER: _integers,
    Kind.BOOLEAN: _booleans,
    Kind.STRING: _strings,
}


# Answers.


def encode_csv(outputs: Mapping[str, Array], non_finite: NonFinite) -> bytes:
    """A column for each output, or for each value of a row as NAME_0, NAME_1, ...; numbers as JSON has them.

    Bytes are written as in JSON: as text, or as base64 where the output's name ends in `_bytes`. NotAcceptable for what
    no table can hold.
    """
    check_rows(outputs)
    header: list[str] = []
    columns: list[list[str]] = []
    for name, array in outputs.items():
        if array.ndim > 2:
            raise NotAcceptable(f'output "{name}" has shape {shape_text(array.shape)}, which no table can hold')
        matrix = array[:, np.newaxis] if array.ndim == 1 else array
        width = matrix.shape[1]
        header += [name] if width == 1 else [f"{name}_{place}" for place in range(width)]
        columns += [_cells(name, matrix[:, place], non_finite) for place in range(width)]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode()


def csv_bytes(outputs: Mapping[str, Array]) -> int:
    """The most that these tensors take together with the table that they are written as."""
    return answer_bytes(outputs) + sum(array.size for array in outputs.values()) * _WRITTEN_CELL_BYTES


def _cells(name: str, vector: Array, non_finite: NonFinite) -> list[str]:
    if vector.dtype != object:
        values = orjson.dumps(encode_flat(name, vector, non_finite), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        return ["" if value == "null" else value for value in values.decode().split(",")] if values else []
    if name.endswith("_bytes"):
        return [base64.b64encode(value).decode() for value in vector]
    try:
        return [value.decode() for value in vector]
    except UnicodeDecodeError:
        raise NotAcceptable(f'output "{name}" has a string that is not UTF-8, which no table can hold') from None
