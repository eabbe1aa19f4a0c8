"""How rows become a request, and an answer becomes an array again, in the ways that servers differ.

rows      POST /v1/models/NAME:predict or /NAME, {"instances": [...]}  ->  {"predictions": [...]}
columns   POST /v2/models/NAME/infer, the open inference protocol as JSON
binary    the same with the tensors as bytes behind the JSON
"""

import gzip
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from bench.load import split
from bench.models import Array, Inputs

_HEADER_LENGTH = re.compile(rb"\r\ninference-header-content-length: *(\d+)", re.IGNORECASE)
_INFER = "/v2/models/{model}/infer"
_JSON = {"Content-Type": "application/json"}
_DATATYPES = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}
_DTYPES: dict[str, Any] = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": object}


@dataclass(frozen=True)
class Message:
    """A request without its address."""

    path: str
    body: bytes
    headers: Mapping[str, str]

    def bytes(self) -> bytes:
        """The whole request, as it is sent."""
        lines = {"Host": "127.0.0.1", "Content-Length": str(len(self.body))} | dict(self.headers)
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@dataclass(frozen=True)
class Dialect:
    """One way to ask: `encode` gives the request for a model's inputs, `decode` the array in an answer."""

    encode: Callable[[str, Inputs], Message]
    decode: Callable[[bytes, bytes], Array]


def rows(path: str) -> Dialect:
    """The dialect of rows at a path, in which {model} stands for the model's name."""

    def encode(model: str, inputs: Inputs) -> Message:
        return Message(path.format(model=model), _dumps({"instances": _instances(inputs)}), _JSON)

    return Dialect(encode, lambda head, body: np.asarray(orjson.loads(body)["predictions"]))


def rows_naming_model(path: str) -> Dialect:
    """Rows at one path for all models; the document names the model."""

    def encode(model: str, inputs: Inputs) -> Message:
        return Message(path, _dumps({"model": model, "instances": _instances(inputs)}), _JSON)

    return Dialect(encode, rows(path).decode)


def columns(scalars_in_lists: bool = False) -> Dialect:
    """The open inference protocol, as JSON. Some servers want a column of scalars as [n, 1], and answer so."""

    def encode(model: str, inputs: Inputs) -> Message:
        shaped = _shaped(inputs, scalars_in_lists)
        tensors = [_described(name, array) | {"data": array.reshape(-1)} for name, array in shaped.items()]
        return Message(_INFER.format(model=model), _dumps({"inputs": tensors}), _JSON)

    def decode(head: bytes, body: bytes) -> Array:
        return _without_lists(_first_output(orjson.loads(body), b""), scalars_in_lists)

    return Dialect(encode, decode)


def binary(scalars_in_lists: bool = False) -> Dialect:
    """The same with the tensors as bytes."""

    def encode(model: str, inputs: Inputs) -> Message:
        inputs = _shaped(inputs, scalars_in_lists)
        data = [_raw(array) for array in inputs.values()]
        sizes = [{"parameters": {"binary_data_size": len(raw)}} for raw in data]
        tensors = [_described(name, array) | size for (name, array), size in zip(inputs.items(), sizes, strict=True)]
        head = _dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        return Message(_INFER.format(model=model), head + b"".join(data), headers)

    def decode(head: bytes, body: bytes) -> Array:
        length = _HEADER_LENGTH.search(head + b"\r\n")
        size = int(length[1]) if length else len(body)
        return _without_lists(_first_output(orjson.loads(body[:size]), body[size:]), scalars_in_lists)

    return Dialect(encode, decode)


def gzipped(dialect: Dialect) -> Dialect:
    """The same with the request compressed."""

    def encode(model: str, inputs: Inputs) -> Message:
        plain = dialect.encode(model, inputs)
        body = gzip.compress(plain.body, 6, mtime=0)
        return Message(plain.path, body, {**plain.headers, "Content-Encoding": "gzip"})

    return Dialect(encode, dialect.decode)


def decode(dialect: Dialect, answer: bytes) -> Array:
    """The array in an answer of a server."""
    return dialect.decode(*split(answer))


def differs(got: Array, expected: Array) -> str:
    """How an answer differs from what the model answered when it was called directly; "" if it does not."""
    if got.shape != expected.shape:
        return f"shape {got.shape} instead of {expected.shape}"
    if expected.dtype == object:
        pairs = zip(got.reshape(-1).tolist(), expected.reshape(-1).tolist(), strict=True)
        return "" if all(_text(one) == _text(other) for one, other in pairs) else "other texts"
    if np.allclose(got.astype(np.float64), expected, rtol=1e-4, atol=1e-5):
        return ""
    return f"other numbers, by up to {np.abs(got.astype(np.float64) - expected).max():.2g}"


def _dumps(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=_plain)


def _plain(value: Any) -> Any:
    return value.tolist()


def _instances(inputs: Inputs) -> Any:
    """The rows of a model's inputs: of its only one, or an object of scalars for each."""
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return [dict(zip(inputs, values, strict=True)) for values in zip(*inputs.values(), strict=True)]


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": _DATATYPES[array.dtype.name]}


def _shaped(inputs: Inputs, scalars_in_lists: bool) -> Inputs:
    if not scalars_in_lists:
        return inputs
    return {name: array[:, None] if array.ndim == 1 else array for name, array in inputs.items()}


def _without_lists(array: Array, scalars_in_lists: bool) -> Array:
    return array[:, 0] if scalars_in_lists and array.shape[1:] == (1,) else array


def _raw(array: Array) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    texts = [text.encode() for text in array.reshape(-1)]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _first_output(document: Any, raw: bytes) -> Array:
    output = document["outputs"][0]
    shape, dtype = output["shape"], _DTYPES[output["datatype"]]
    if "data" in output:
        return np.array(output["data"], dtype).reshape(shape)
    if dtype is not object:
        return np.frombuffer(raw, dtype).reshape(shape)
    texts, offset = [], 0
    while offset < len(raw):
        (length,) = struct.unpack_from("<I", raw, offset)
        texts.append(raw[offset + 4 : offset + 4 + length])
        offset += 4 + length
    return np.array(texts, object).reshape(shape)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
