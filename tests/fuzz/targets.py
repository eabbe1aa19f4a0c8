"""What must hold of everything that reads a body, whatever the bytes: one function for each reader.

A target is given bytes and raises when its property does not hold. Of all of them: nothing but a ServingError comes
out, its text can be sent, and memory stays in proportion to the body. Beside that each holds a fast way of reading
against a slow one. Nothing here knows the fuzzer, so the corpus is replayed without it.
"""

import io
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from serving.errors import ServingError
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest import schemas
from serving.rest.body import read_buffer
from serving.rest.predict import read_predict
from serving.rest.v2.body import split
from serving.rest.v2.inputs import read_inputs, read_raw_input
from serving.rest.v2.schemas import Infer
from serving.tensors.binary import decode_binary, encode_binary
from serving.tensors.datatypes import DATATYPES
from serving.tensors.decode import decode_tensor
from serving.tensors.examples import decode_examples
from serving.tensors.parse import parse
from serving.tensors.skim import can_skim, skim
from serving.tensors.spec import DTYPES, Array, TensorSpec
from serving.tensors.unread import parse_around

MAX_BODY_BYTES = 160 * 1024
"""Enough for large tensors to be read in several pieces."""
MAX_DECOMPRESSED_BYTES = 64 * 1024
MEMORY_BYTES = 4 * 2**20
MEMORY_PER_BYTE = 64
"""What reading twice may take: a fixed part, and so much for each byte; an empty list is 2 bytes and becomes 56."""

MAX_DEPTH = 500
"""How deep both parsers read; the one of them goes a little deeper than the other."""

Outcome = Any
"""What a way of reading makes of a body, tensors to the bit; or Refused."""


class Refused(NamedTuple):
    """An error that says so, by its code."""

    code: str


SIGNATURES: tuple[Mapping[str, tuple[str, tuple[int | None, ...] | None]], ...] = (
    {"x": ("DT_FLOAT", (None, 4))},
    {"x": ("DT_FLOAT", None)},
    {"x": ("DT_DOUBLE", (None, None, 2))},
    {"x": ("DT_HALF", (None,))},
    {"x": ("DT_BFLOAT16", (None,))},
    {"x": ("DT_INT8", (None, None))},
    {"x": ("DT_INT64", (None,))},
    {"x": ("DT_UINT64", ())},
    {"x": ("DT_BOOL", (None, 2))},
    {"x": ("DT_STRING", (None,))},
    {"b64": ("DT_STRING", (None,))},
    {
        "age": ("DT_INT64", (None,)),
        "amount": ("DT_FLOAT", (None,)),
        "country": ("DT_STRING", (None,)),
        "flags": ("DT_BOOL", (None, 2)),
    },
    {"a": ("DT_UINT8", (None,)), "b": ("DT_UINT8", (None,))},
    {"x": ("DT_COMPLEX64", (None,))},
    {},
)
"""The inputs that bodies are read for, by the first byte."""


def swell(data: bytes) -> bytes:
    """The bytes, in which 0xFF, N, PIECE stands for N x N times the piece: large bodies of which few bytes matter."""
    first, *repeated = data.split(b"\xff")
    body = bytearray(first[:MAX_BODY_BYTES])
    for piece in repeated:
        times, unit = (piece[0] ** 2, piece[1:]) if piece else (1, b"")
        body += unit * min(times, (MAX_BODY_BYTES - len(body)) // max(1, len(unit)))
    return bytes(body)


def v1_predict(data: bytes) -> None:
    """The fast readers of v1 agree with the careful one, which a key that means nothing sends the same document to."""
    signature, body = _signature(data[:1]), swell(data[1:])
    signatures = {DEFAULT_SIGNATURE: signature, "other": _signature(b"\x05")}
    fast = outcome(lambda: _predicted(signatures, body))
    if body.lstrip(b" \t\r\n")[:1] == b"{" and b":" in body:
        slow = outcome(lambda: _predicted(signatures, body.replace(b"{", b'{"":0,', 1)))
        assert fast == slow, f"the fast way gives {fast!r}, the slow one {slow!r}"


def v2_infer(data: bytes) -> None:
    """Leaving large lists unread gives what parsing all gives. The length of the JSON is before the first line end."""
    signature, (header, _, body) = _signature(data[:1]), data[1:].partition(b"\n")
    whole = memoryview(swell(body))
    json_bytes = header.decode("latin-1") or None
    fast = outcome(lambda: _infer(signature, whole, json_bytes, parse_around))
    slow = outcome(lambda: _infer(signature, whole, json_bytes, parse))
    assert fast == slow, f"the fast way gives {fast!r}, the slow one {slow!r}"


def json_text(data: bytes) -> None:
    """The fast parser agrees with the slow one, to which a NaN before the document sends it."""
    body = swell(data)
    fast = outcome(lambda: [*_flat(parse(body))])
    slow = outcome(lambda: [*_flat(parse(b"[NaN,\n" + body.removeprefix(b"\xef\xbb\xbf") + b"\n]"))])
    if type(fast) is list and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        assert slow == ["list of 2", "nan", *fast], f"{fast!r} is {slow!r} in a list"


def skimmed(data: bytes) -> None:
    """What is skimmed is what the careful way reads; it may leave things to that, but not the other way round."""
    dtypes = [dtype for dtype in DTYPES.values() if can_skim(dtype)]
    dtype, body = dtypes[sum(data[:1]) % len(dtypes)], swell(data[1:])
    array = skim(memoryview(body), dtype)
    if array is not None:
        slow = outcome(lambda: {"x": decode_tensor(parse(body), TensorSpec("x", dtype.proto, None))})
        assert _bits({"x": array}) == slow, f"{array!r} was skimmed of {slow!r}"


def binary(data: bytes) -> None:
    """Binary tensors of any dtype and shape become the same bytes again, or are refused."""
    dtypes = list(DATATYPES.values())
    dtype, rank = dtypes[sum(data[:1]) % len(dtypes)], sum(data[1:2]) % 5
    shape, tail = tuple(data[2 : 2 + rank]), memoryview(swell(data[2 + rank :]))
    try:
        array = decode_binary("x", dtype, shape, tail)
    except ServingError as error:
        _check_text(error)
        return
    assert (array.shape, array.dtype) == (shape, dtype.numpy)
    assert bytes(encode_binary(array)) == tail


def compressed(data: bytes) -> None:
    """A compressed body is what zlib makes of it all at once, or is refused; it never exceeds the limit."""
    encoding, body = ("gzip", "deflate", "x-gzip", "GZIP ", "br", "")[sum(data[:1]) % 6], swell(data[1:])
    read = outcome(lambda: _read(body, encoding))
    assert type(read) is not bytes or len(read) <= max(MAX_DECOMPRESSED_BYTES, len(body))
    if encoding in ("gzip", "deflate") and (type(read) is bytes or read == Refused("INVALID_ARGUMENT")):
        expected = _decompressed(body, 31 if encoding == "gzip" else 15)
        if expected is not None and len(expected) <= MAX_DECOMPRESSED_BYTES:
            assert read == expected, f"{read!r} was read, {expected!r} was sent"


def examples(data: bytes) -> None:
    """Bodies of classify and regress are examples, each feature of one kind, or are refused."""
    body = swell(data)

    def read() -> Outcome:
        document = parse(body)
        envelope = schemas.load(_EXAMPLES, document)
        return schemas.signature_name(document), decode_examples(envelope["examples"], envelope["context"])

    found = outcome(read)
    if type(found) is not Refused:
        types = {"bytes": bytes, "float": float, "int64": int, None: ()}
        features = [feature for example in found[1] for feature in example.values()]
        assert all(isinstance(value, types[feature.kind]) for feature in features for value in feature.values)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (v1_predict, v2_infer, json_text, skimmed, binary, compressed, examples)
}


def hold(target: Callable[[bytes], None], data: bytes) -> None:
    """Run a target within its memory; whatever it raises did not hold."""
    tracemalloc.start()
    try:
        target(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    allowed = MEMORY_BYTES + MEMORY_PER_BYTE * len(swell(data))
    assert peak <= allowed, f"{peak} bytes of memory for a body of {len(swell(data))}"


def outcome(read: Callable[[], Any]) -> Outcome:
    """What a way of reading gives; Refused for a ServingError, whose text must be one that can be sent."""
    try:
        found = read()
    except ServingError as error:
        _check_text(error)
        return Refused(error.code)
    return _bits(found) if isinstance(found, dict) else found


def _check_text(error: ServingError) -> None:
    error.message.encode()
    assert len(error.message) <= MEMORY_BYTES


def _bits(tensors: Mapping[str, Array]) -> Outcome:
    return {
        name: (array.dtype, array.shape, array.tolist() if array.dtype == object else array.tobytes())
        for name, array in tensors.items()
    }


def _flat(value: Any) -> Iterator[str]:
    """What is in a JSON value, from left to right, however deep it is."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if type(value) is list:
            yield f"list of {len(value)}"
            waiting += reversed(value)
        elif type(value) is dict:
            yield f"object of {list(value)!r}"
            waiting += reversed(value.values())
        else:
            yield repr(value)


def _signature(choice: bytes) -> Signature:
    return _SIGNATURES[sum(choice) % len(_SIGNATURES)]


_INFER, _EXAMPLES = Infer(), schemas.Examples()
_SIGNATURES = [
    Signature(DEFAULT_SIGNATURE, {name: TensorSpec(name, *what) for name, what in inputs.items()}, {}, "")
    for inputs in SIGNATURES
]


def _predicted(signatures: Mapping[str, Signature], body: bytes) -> Mapping[str, Array]:
    return dict(read_predict(signatures, body).inputs)


def _infer(
    signature: Signature, body: memoryview, json_bytes: str | None, parse_json: Callable[[bytes], Any]
) -> dict[str, Array]:
    text, tail = split(body, json_bytes)
    if json_bytes is not None and not text:
        return read_raw_input(signature, tail)
    return read_inputs(signature, schemas.load(_INFER, parse_json(bytes(text)))["inputs"], tail)


def _read(body: bytes, encoding: str) -> bytes:
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "HTTP_CONTENT_ENCODING": encoding}
    return bytes(read_buffer(environ, MAX_BODY_BYTES, MAX_DECOMPRESSED_BYTES, lambda _: None))


def _decompressed(body: bytes, window_bits: int) -> bytes | None:
    """All members of a body, each decompressed at once; None when some member is damaged or cut short."""
    data = b""
    while True:
        stream = zlib.decompressobj(wbits=window_bits)
        try:
            data += stream.decompress(body, MAX_DECOMPRESSED_BYTES + 1)
        except zlib.error:
            return None
        if not stream.eof:
            return None
        if not (body := stream.unused_data):
            return data
