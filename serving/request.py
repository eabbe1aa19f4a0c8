"""Requests as they arrive: bytes become whole requests, under limits.

The bytes are parsed by httptools (llhttp). Whatever is wrong with the framing is refused: nobody can tell where the
next request would begin.
"""

import io
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httptools

from serving.answers import Refused
from serving.caller import Caller
from serving.framing import check_head, origin_form
from serving.memory import Memory
from serving.request_body import LargeBody, make_body
from serving.settings import Settings

MEBI = 1024 * 1024
PIECE_BYTES = 16 * 1024
"""How much is parsed at a time, but for a body: what a client sends ahead stays bytes until its turn has come."""
UNCOUNTED_BYTES = 64 * 1024
"""How much of a body, and of what was sent ahead, is not counted: small requests go on when no memory is left."""
COUNTED_BYTES = 256 * 1024
"""In what steps the rest is."""
_CODING = b"transfer-encoding"
"""Its value is checked with the spaces behind it, since the parser may not have taken it for `chunked` with them."""
FRAMING_BYTES = 64 * 1024
"""How much the framing of a chunked body may take beyond as much as the body itself."""


@dataclass(frozen=True)
class Limits:
    """What one connection may cost. Sizes in bytes, times in seconds."""

    line_bytes: int
    headers: int
    header_bytes: int
    head_bytes: int
    body_bytes: int
    head_seconds: float
    body_seconds: float
    seconds_a_mebibyte: float
    idle_seconds: float
    answer_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those that the operator has set."""
        return cls(
            line_bytes=settings.max_request_line_bytes,
            headers=settings.max_headers,
            header_bytes=settings.max_header_bytes,
            head_bytes=settings.max_head_bytes,
            body_bytes=settings.max_body_bytes,
            head_seconds=settings.head_seconds,
            body_seconds=settings.body_seconds,
            seconds_a_mebibyte=settings.body_seconds_per_mebibyte,
            idle_seconds=settings.keep_alive_seconds,
            answer_seconds=settings.request_timeout_seconds,
        )

    def transfer_seconds(self, size: int) -> float:
        """The time that so many bytes of a body may take."""
        return self.body_seconds + self.seconds_a_mebibyte * size / MEBI


@dataclass(slots=True)
class Request:
    """A request as it arrives; complete once it is handed on."""

    target: bytes = b""
    method: str = ""
    version: str = "1.1"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: io.BytesIO | LargeBody = field(default_factory=io.BytesIO)
    body_bytes: int = 0
    counted_bytes: int = 0
    """What of the body has been taken from the memory that connections share, and is given back with the answer."""
    is_compressed: bool = False
    content_type: bytes = b""
    keep_alive: bool = True
    caller: Caller = field(default_factory=lambda: Caller(time.monotonic()))
    environ: dict[str, Any] | None = None
    """What the application gets, and notes in what it learns of the request; None until the application is called."""

    def header(self, wanted: bytes) -> bytes:
        """The first value of a header, by its name in lower case; empty where there is none."""
        return next((value for name, value in self.headers if name == wanted), b"")


class RequestReader:
    """Reads the requests of one connection. Used by the event loop's thread only."""

    def __init__(self, limits: Limits, memory: Memory) -> None:
        self.complete: deque[Request] = deque()
        """Requests that wait to be answered."""
        self.request = Request()
        """The one that arrives."""
        self.has_begun = False
        """Whether anything of it has come."""
        self.refused: Refused | None = None
        """Why nothing more is read."""
        self.continue_is_due = False
        """Whether the client waits for leave to send the body."""
        self.deadline = 0.0
        """When, on the monotonic clock, what is waited for must have come; the connection moves it too."""
        self._limits = limits
        self._memory = memory
        self._parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self._header_bytes = 0
        self._body_left = 0
        self._received_bytes = 0
        self._in_head = True
        self._trailers: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> bytes:
        """Parse what has come until a request is complete; what is left then, which is to wait until it is answered."""
        if len(data) <= PIECE_BYTES:
            self._feed_piece(data)
            return b""
        rest = memoryview(data)
        while rest and not self.complete and self.refused is None:
            size = max(PIECE_BYTES, self._body_left)
            self._feed_piece(rest[:size])
            rest = rest[size:]
        return bytes(rest) if self.refused is None else b""

    def refuse(self, refused: Refused) -> None:
        """Read nothing more, and have the client told why, unless there was a reason before."""
        self.refused = self.refused or refused

    def let_go(self, request: Request) -> None:
        """Give back the memory that was taken for a request's body."""
        if request.counted_bytes:
            self._memory.give_back(request.counted_bytes)
            request.counted_bytes = 0

    def close(self) -> None:
        """Let go of all that has come."""
        for request in (self.request, *self.complete):
            self.let_go(request)
        del self._parser  # it and this hold each other: what they hold would wait for a garbage collection

    # What the parser calls, in this order, for each request.

    def on_message_begin(self) -> None:
        self.has_begun = True
        now = self.request.caller.arrived = time.monotonic()
        self.deadline = now + self._limits.head_seconds

    def on_url(self, url: bytes) -> None:
        request, most = self.request, self._limits.line_bytes
        if not request.target:
            request.method = self._parser.get_method().decode("ascii")
        request.target += url
        line_bytes = len(request.method) + len(request.target) + len("  HTTP/1.1")
        if line_bytes > most:
            raise Refused(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"The request line is longer than {most} bytes; send less in the path or raise "
                "SERVING_MAX_REQUEST_LINE_BYTES",
            )
        self._header_bytes = line_bytes + len("\r\n\r\n")

    def on_header(self, name: bytes, value: bytes) -> None:
        limits, size = self._limits, len(name) + len(value)
        headers = self.request.headers if self._in_head else self._trailers
        name = name.lower()
        if name != _CODING:
            value = value.rstrip(b" \t")
        headers.append((name, value))
        self._header_bytes += size + len(": \r\n")
        if len(headers) > limits.headers:
            raise _head_too_large(f"more than {limits.headers} headers", "SERVING_MAX_HEADERS")
        if size > limits.header_bytes:
            raise _head_too_large(f"a header of more than {limits.header_bytes} bytes", "SERVING_MAX_HEADER_BYTES")
        if self._header_bytes > limits.head_bytes:
            raise _too_large_as_a_whole(limits)

    def on_headers_complete(self) -> None:
        request, limits = self.request, self._limits
        request.version = self._parser.get_http_version()
        if request.method == "CONNECT":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "This server is no proxy")
        if self._parser.should_upgrade():
            return  # see `_parse`
        fields = check_head(request.version, request.headers)
        request.target, host = origin_form(request.method, request.target)
        if host is not None:
            request.headers = [header for header in request.headers if header[0] != b"host"] + [(b"host", host)]
        length = int(fields.get(b"content-length", 0))
        if length > limits.body_bytes:
            raise _too_large(limits)
        if length > max(UNCOUNTED_BYTES, self._memory.free):
            raise no_memory()
        self._in_head, self._trailers, self._body_left, self._received_bytes = False, [], length, 0
        request.is_compressed = b"content-encoding" in fields
        request.content_type = fields.get(b"content-type", b"")
        request.body = make_body(length, fields.get(b"inference-header-content-length"))
        self.deadline = time.monotonic() + limits.transfer_seconds(length or limits.body_bytes)
        self.continue_is_due = request.version == "1.1" and fields.get(b"expect", b"").lower() == b"100-continue"

    def on_body(self, data: bytes) -> None:
        request = self.request
        request.body.write(data)
        request.body_bytes += len(data)
        self._body_left -= len(data)
        if request.body_bytes > self._limits.body_bytes:
            raise _too_large(self._limits)
        if request.body_bytes > UNCOUNTED_BYTES + request.counted_bytes:
            self._count(request)

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return
        self.continue_is_due = False
        self.request.keep_alive = self._parser.should_keep_alive()
        caller = self.request.caller
        caller.body_bytes = self.request.body_bytes
        caller.arrived = time.monotonic()
        caller.deadline = caller.arrived + self._limits.answer_seconds
        self.complete.append(self.request)
        self.request = Request()
        self._in_head, self.has_begun = True, False
        self._head_bytes = self._header_bytes = self._body_left = 0

    # Parsing.

    def _feed_piece(self, piece: bytes | memoryview) -> None:
        if self._in_head:
            self._head_bytes += len(piece)
        else:
            self._received_bytes += len(piece)
        try:
            self._parse(piece)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.refuse(cause if isinstance(cause, Refused) else _malformed(error))
        if self._in_head:
            if self._head_bytes > self._limits.head_bytes:
                self.refuse(_too_large_as_a_whole(self._limits))
        elif self._received_bytes > 2 * self.request.body_bytes + FRAMING_BYTES:
            self.refuse(Refused(HTTPStatus.BAD_REQUEST, "The chunks of the request body are too small"))

    def _parse(self, rest: bytes | memoryview) -> None:
        """Parse a piece of input. A request to change the protocol is declined, as it may be, by not seeing it.

        The parser takes what follows such a head for the other protocol, so it gets the head again without the wish.
        """
        while rest:
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            # Not in the handler: the parser's error must keep the refusal of the head, its cause, as its context.
            head = _head_without_upgrade(self.request)
            self.request, self._header_bytes = Request(), 0
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(head)

    def _count(self, request: Request) -> None:
        """Take memory for what has come of a body, and for some more."""
        more = request.body_bytes - UNCOUNTED_BYTES - request.counted_bytes + COUNTED_BYTES
        if not self._memory.take(more):
            raise no_memory()
        request.counted_bytes += more


def _too_large(limits: Limits) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The request body is larger than {limits.body_bytes} bytes; send fewer rows at once or raise "
        "SERVING_MAX_BODY_BYTES",
    )


def _head_without_upgrade(request: Request) -> bytes:
    lines = [b"%s %s HTTP/%s" % (request.method.encode(), request.target, request.version.encode())]
    lines += [b"%s: %s" % header for header in request.headers if header[0] != b"upgrade"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _malformed(error: Exception) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, f"The request is not valid HTTP/1.1: {error}")


def _too_large_as_a_whole(limits: Limits) -> Refused:
    return _head_too_large(f"a head of more than {limits.head_bytes} bytes", "SERVING_MAX_HEAD_BYTES")


def _head_too_large(what: str, setting: str) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The request has {what}; send less in headers or raise {setting}"
    )


def no_memory() -> Refused:
    return Refused(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The requests in hand take all the memory that there is for them; try again later",
    )
