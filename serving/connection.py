"""One client connection: whole requests in, whole answers out, one at a time, under limits and deadlines.

The bytes are parsed by httptools (llhttp). A request reaches the application only when all of it is there, so a slow
client costs memory within a limit but no thread. Whatever is wrong with the framing is answered as JSON and ends the
connection, since nobody can tell where the next request would begin.

    waiting -> reading the head -> reading the body -> answering -> writing -> waiting
"""

import asyncio
import io
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools

from serving.answers import Answer, Refused, refusal, size_of
from serving.caller import Caller
from serving.framing import check_head, origin_form
from serving.memory import Memory
from serving.request_body import LargeBody, make_body

MEBI = 1024 * 1024
LINGER_SECONDS = 2.0
"""How long a refused client may go on sending: were the connection closed at once, it might never see the answer."""
LINGER_BYTES = 64 * MEBI
"""How much it may send meanwhile: four of the largest bodies that are taken unless SERVING_MAX_BODY_BYTES is set."""

LONG_BYTES = 128 * 1024
"""A piece of input of this size says that there is more where it came from."""

ANSWERS_IN_A_ROW = 32
"""How many requests of a client that does not wait are answered before the event loop looks at the others."""

PIECE_BYTES = 16 * 1024
"""How much is parsed at a time, but for a body: what a client sends ahead stays bytes until its turn has come."""
UNCOUNTED_BYTES = 64 * 1024
"""How much of a body, and of what was sent ahead, is not counted: small requests go on when no memory is left."""
COUNTED_BYTES = 256 * 1024
"""In what steps the rest is."""
FRAMING_BYTES = 64 * 1024
"""How much the framing of a chunked body may take beyond as much as the body itself."""


@dataclass(frozen=True)
class Limits:
    """What one connection may cost. Sizes in bytes, times in seconds."""

    line_bytes: int = 4094
    headers: int = 100
    header_bytes: int = 8190
    head_bytes: int = 64 * 1024
    body_bytes: int = 16 * MEBI
    head_seconds: float = 5.0
    body_seconds: float = 10.0
    seconds_a_mebibyte: float = 1.0
    idle_seconds: float = 5.0
    answer_seconds: float = 30.0

    def transfer_seconds(self, size: int) -> float:
        """The time that so many bytes of a body may take."""
        return self.body_seconds + self.seconds_a_mebibyte * size / MEBI


class Front(Protocol):
    """What a connection needs of the worker that it belongs to."""

    limits: Limits
    memory: Memory
    """What the bodies that the connections hold, and the answers that nobody has read yet, may take together."""

    def answer(self, request: "Request", connection: "Connection") -> None:
        """Have the request answered, now or later, by a call of `connection.send`."""

    def note_refusal(self, request: "Request", peer: str, status: HTTPStatus) -> str:
        """Count and log an answer that the application does not give, and return the id that it shall carry."""

    def soon(self, call: Callable[[], None]) -> None:
        """Have something called when the event loop has looked at the other connections."""

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...


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


class Connection(asyncio.Protocol):
    """The protocol of one connection. Used by the event loop's thread only."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._limits = front.limits
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._complete: deque[Request] = deque()
        self._caller = Caller()
        self._refused: Refused | None = None
        self._held_back: list[bytes] = []
        self._head_bytes = 0
        self._header_bytes = 0
        self._body_left = 0
        self._received_bytes = 0
        self._has_begun = False
        self._in_head = True
        self._trailers: list[tuple[bytes, bytes]] = []
        self._answering = False
        self._advancing = False
        self._unsent = False
        self._unsent_bytes = 0
        self._ahead_bytes = 0
        self._answered: Request | None = None
        self._continue_is_due = False
        self._lingering = False
        self._dropped_bytes = 0
        self._transport: asyncio.Transport
        self.peer = ""
        self.certificate: Mapping[str, Any] | None = None
        """The client's certificate, verified, as the ssl module describes it."""
        self.deadline = 0.0
        """When, on the monotonic clock, whatever the connection waits for must have come; see `expire`."""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self.certificate = transport.get_extra_info("peercert")
        self.deadline = time.monotonic() + self._limits.head_seconds
        self._front.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._caller.gone = True
        for request in (self._request, *self._complete):
            self._give_back(request)
        self._front.memory.give_back(self._unsent_bytes + self._ahead_bytes)
        self._unsent_bytes = self._ahead_bytes = 0
        self._front.closed(self)
        del self._parser  # it and the connection hold each other: what they hold would wait for a garbage collection

    def data_received(self, data: bytes) -> None:
        if self._is_busy:  # a client that does not wait for answers: it waits until this one is sent
            self._hold_back(data)
            self._transport.pause_reading()
        elif self._lingering:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > LINGER_BYTES:
                self.close()
        elif self._refused is None:
            self._feed(data)
            self._advance()
            if len(data) >= LONG_BYTES and not self._is_busy:
                self._let_others_read()

    def eof_received(self) -> bool:
        if self._lingering:
            return False
        if self._answering:  # it hung up, most likely; what is computed already it can still read if it did not
            self._caller.gone = True
            return True
        if self._is_behind:
            return True
        if not self.is_idle:
            self._refuse(Refused(HTTPStatus.BAD_REQUEST, "The request ended before it was complete"))
            self._advance()
        return False

    def pause_writing(self) -> None:
        self._unsent = True

    def resume_writing(self) -> None:
        self._unsent = False
        self._front.memory.give_back(self._unsent_bytes)
        self._unsent_bytes = 0
        self._advance()

    # What the parser calls, in this order, for each request.

    def on_message_begin(self) -> None:
        self._has_begun = True
        now = self._request.caller.arrived = time.monotonic()
        self.deadline = now + self._limits.head_seconds

    def on_url(self, url: bytes) -> None:
        if not self._request.target:
            self._request.method = self._parser.get_method().decode("ascii")
        self._request.target += url
        if len(self._request.method) + len(self._request.target) + len("  HTTP/1.1") > self._limits.line_bytes:
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "The request's path is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._request.headers if self._in_head else self._trailers
        headers.append((name.lower(), value))
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._limits.head_bytes:
            raise _head_too_large()
        if len(headers) > self._limits.headers or len(name) + len(value) > self._limits.header_bytes:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many or too long headers")

    def on_headers_complete(self) -> None:
        request, limits = self._request, self._limits
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
        if length > max(UNCOUNTED_BYTES, self._front.memory.free):
            raise _no_memory()
        self._in_head, self._trailers, self._body_left, self._received_bytes = False, [], length, 0
        request.is_compressed = b"content-encoding" in fields
        request.content_type = fields.get(b"content-type", b"")
        request.body = make_body(length, fields.get(b"inference-header-content-length"))
        self.deadline = time.monotonic() + limits.transfer_seconds(length or limits.body_bytes)
        self._continue_is_due = request.version == "1.1" and fields.get(b"expect", b"").lower() == b"100-continue"

    def on_body(self, data: bytes) -> None:
        request = self._request
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
        self._continue_is_due = False
        self._request.keep_alive = self._parser.should_keep_alive()
        caller = self._request.caller
        caller.body_bytes = self._request.body_bytes
        caller.arrived = time.monotonic()
        caller.deadline = caller.arrived + self._limits.answer_seconds
        self._complete.append(self._request)
        self._request = Request()
        self._in_head, self._has_begun = True, False
        self._head_bytes = self._header_bytes = self._body_left = 0

    # What the worker calls.

    def send(self, answer: Answer, keep_alive: bool) -> None:
        """Write the answer of the request in hand, and go on with what came after it."""
        self._answering = False
        if self._answered is not None:
            self._give_back(self._answered)
            self._answered = None  # a client that is idle must not hold on to its last body
        if self._transport.is_closing():
            return
        if isinstance(answer, bytes):
            self._transport.write(answer)
        else:
            self._transport.writelines(answer)
        if self._unsent:
            self._unsent_bytes = size_of(answer)
            self._front.memory.count(self._unsent_bytes)
        if not keep_alive:
            self.close()
            return
        wait = self._limits.transfer_seconds(size_of(answer)) if self._unsent else self._limits.idle_seconds
        self.deadline = time.monotonic() + wait
        self._advance()

    def expire(self) -> None:
        """End the connection, whose deadline has passed: an answer in the making has its deadline elsewhere."""
        if self._answering:
            return
        if self._unsent or self._transport.is_closing():
            self._transport.abort()
        elif self._is_behind:
            return
        elif self.is_idle or self._lingering:
            self.close()
        else:
            self._refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time"))
            self._advance()

    @property
    def is_idle(self) -> bool:
        """Whether the connection waits for a request of which nothing has come."""
        return not (self._has_begun or self._answering or self._is_behind)

    @property
    def _is_behind(self) -> bool:
        """Whether requests, or what may hold some, have come and wait for their turn."""
        return bool(self._complete or self._held_back)

    @property
    def _is_busy(self) -> bool:
        """Whether what comes now has to wait."""
        return self._answering or self._unsent or self._is_behind

    def close(self) -> None:
        """End the connection once what has been written is sent; the client has the time of a body to read it."""
        if not self._transport.is_closing():
            unsent = self._transport.get_write_buffer_size()
            self.deadline = time.monotonic() + self._limits.transfer_seconds(unsent)
            self._transport.close()

    def _let_others_read(self) -> None:
        """Have the event loop look at the other connections before it reads on here, which it may do for megabytes."""
        self._transport.pause_reading()
        self._front.soon(self._transport.resume_reading)

    def _feed(self, data: bytes) -> None:
        """Parse what has come until a request is complete; what is left then waits until that one is answered."""
        if len(data) <= PIECE_BYTES:
            self._feed_piece(data)
            return
        rest = memoryview(data)
        while rest and not self._complete and self._refused is None:
            size = max(PIECE_BYTES, self._body_left)
            self._feed_piece(rest[:size])
            rest = rest[size:]
        if rest and self._refused is None:
            self._hold_back(bytes(rest))

    def _feed_held_back(self) -> None:
        """Parse on in what was sent ahead; read on when all of that is parsed."""
        data, self._held_back = b"".join(self._held_back), []
        self._front.memory.give_back(self._ahead_bytes)
        self._ahead_bytes = 0
        self._feed(data)
        if not self._held_back:
            self._transport.resume_reading()

    def _feed_piece(self, piece: bytes | memoryview) -> None:
        if self._in_head:
            self._head_bytes += len(piece)
        else:
            self._received_bytes += len(piece)
        try:
            self._parse(piece)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refused) else _malformed(error))
        if self._in_head:
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(_head_too_large())
        elif self._received_bytes > 2 * self._request.body_bytes + FRAMING_BYTES:
            self._refuse(Refused(HTTPStatus.BAD_REQUEST, "The chunks of the request body are too small"))

    def _hold_back(self, data: bytes) -> None:
        """Keep what was sent ahead, if there is memory for it."""
        size = len(data) if len(data) > UNCOUNTED_BYTES else 0
        if self._front.memory.take(size):
            self._held_back.append(data)
            self._ahead_bytes += size
        else:
            self._refuse(_no_memory())

    def _count(self, request: Request) -> None:
        """Take memory for what has come of a body, and for some more."""
        more = request.body_bytes - UNCOUNTED_BYTES - request.counted_bytes + COUNTED_BYTES
        if not self._front.memory.take(more):
            raise _no_memory()
        request.counted_bytes += more

    def _give_back(self, request: Request) -> None:
        if request.counted_bytes:
            self._front.memory.give_back(request.counted_bytes)
            request.counted_bytes = 0

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
            head = _head_without_upgrade(self._request)
            self._request, self._header_bytes = Request(), 0
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(head)

    def _refuse(self, refused: Refused) -> None:
        self._refused = self._refused or refused

    def _advance(self) -> None:
        """Have the next request answered, as long as there is one; `send` may be called meanwhile or later."""
        if self._advancing:
            return
        self._advancing = True
        answers = 0
        while not (self._answering or self._unsent or self._transport.is_closing()):
            if self._complete:
                if answers == ANSWERS_IN_A_ROW:
                    self._front.soon(self._advance)
                    break
                answers += 1
                self._answering = True
                self._answered = request = self._complete.popleft()
                self._caller = request.caller
                self._front.answer(request, self)
            elif self._refused is not None:
                self._answer_refused(self._refused)
                break
            elif self._held_back:
                self._feed_held_back()
            else:
                if self._continue_is_due:
                    self._continue_is_due = False
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                break
        self._advancing = False

    def _answer_refused(self, refused: Refused) -> None:
        """Say why, and read on for a while without looking at it, so that the client gets to read the answer."""
        if self._lingering:
            return
        self._lingering, self._held_back = True, []
        self._front.memory.give_back(self._ahead_bytes)
        self._ahead_bytes = 0
        self.deadline = time.monotonic() + LINGER_SECONDS
        self._give_back(self._request)
        self._request.body = io.BytesIO()
        request_id = self._front.note_refusal(self._request, self.peer, refused.status)
        self._transport.write(refusal(refused, request_id, self._request.method == "HEAD"))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()


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


def _head_too_large() -> Refused:
    return Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too large")


def _no_memory() -> Refused:
    return Refused(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The requests in hand take all the memory that there is for them; try again later",
    )
