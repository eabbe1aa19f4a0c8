"""The body of a request: all of it, within its limits, decompressed; or an error."""

import re
import zlib
from collections.abc import Callable
from typing import IO, Any

from serving.errors import InvalidArgument, PayloadTooLarge, UnsupportedMediaType

CHUNK_BYTES = 4096
"""How much of a compressed body is read at a time; what follows the end of a member is copied, so it must be little."""
_USUAL_EXPANSION = 10
"""What a compressed byte of JSON usually stands for at most; the most that it can is 1032."""

_LENGTH = re.compile(r"[0-9]{1,18}")
_GZIP = 16 + zlib.MAX_WBITS
_WINDOW_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


def read_buffer(
    environ: dict[str, Any], max_bytes: int, max_decompressed_bytes: int, make_room: Callable[[int], None]
) -> memoryview:
    """The body that a WSGI request promises, whole and decompressed.

    Before it is decompressed `make_room` is called with about the size that this will make, and with each that turns
    out to be larger as it grows; what it raises ends the reading.

    PayloadTooLarge beyond either limit, InvalidArgument for a body that ends early or does not decompress,
    UnsupportedMediaType for a Content-Encoding other than gzip and deflate.
    """
    body = memoryview(_read(environ, max_bytes))
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:64]!r} is not supported; send gzip, deflate or none")
    make_room(min(max_decompressed_bytes, _USUAL_EXPANSION * len(body)))
    return _decompress(body, encoding, max_decompressed_bytes, make_room)


def _read(environ: dict[str, Any], max_bytes: int) -> bytes | memoryview:
    stream: IO[bytes] = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated") and "CONTENT_LENGTH" not in environ:
        whole = _read_some(stream, max_bytes + 1)
        _check_size(len(whole), max_bytes)
        return whole
    length = _promised_length(environ)
    _check_size(length, max_bytes)
    body: bytes | memoryview = _take(stream, length) if hasattr(stream, "getbuffer") else _read_some(stream, length)
    if len(body) < length:
        raise InvalidArgument(f"The request body ended after {len(body)} of {length} bytes")
    return body


def _take(stream: Any, size: int) -> memoryview:
    """The next bytes of a stream that is in memory already, without a copy."""
    start = stream.tell()
    stream.seek(start + size)
    taken: memoryview = stream.getbuffer()[start : start + size]
    return taken


def _promised_length(environ: dict[str, Any]) -> int:
    text = environ.get("CONTENT_LENGTH") or "0"
    if not _LENGTH.fullmatch(text):
        raise InvalidArgument("Content-Length is not a whole number")
    return int(text)


def _read_some(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception:  # whatever a server raises for a body that is not framed as it should be
        raise InvalidArgument("The request body ended early or is not framed correctly") from None


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise PayloadTooLarge(
            f"The request body is larger than {max_bytes} bytes; send fewer rows at once or raise "
            "SERVING_MAX_BODY_BYTES"
        )


def _decompress(body: memoryview, encoding: str, max_bytes: int, make_room: Callable[[int], None]) -> memoryview:
    """All members of a compressed body, stopped as soon as they exceed `max_bytes`."""
    data = bytearray()
    position = 0
    while position < len(body) or not position:
        stream = zlib.decompressobj(wbits=_WINDOW_BITS[encoding])
        while not stream.eof:
            chunk = body[position : position + CHUNK_BYTES]
            if not chunk:
                raise InvalidArgument(f"The request body ended before its {encoding} stream did")
            piece = _decompress_chunk(stream, chunk, encoding, max_bytes - len(data))
            make_room(len(data) + len(piece))
            data += piece
            position += len(chunk) - len(stream.unused_data)
    return memoryview(data)


def _decompress_chunk(stream: Any, chunk: memoryview, encoding: str, left: int) -> bytes:
    try:
        data: bytes = stream.decompress(chunk, left + 1)
    except zlib.error:
        raise InvalidArgument(f"The request body is not valid {encoding}") from None
    if len(data) > left:
        raise PayloadTooLarge(
            "The request body is too large when decompressed; send fewer rows at once or raise "
            "SERVING_MAX_DECOMPRESSED_BYTES, which is a fifth of SERVING_REQUEST_MEMORY_BYTES at most"
        )
    return data
