"""One client connection: whole requests in, whole answers out, one at a time, under limits and deadlines.

A request reaches the application only when all of it is there, so a slow client costs memory within a limit but no
thread. How bytes become requests is in serving/request.py; what is refused there is answered as JSON and ends the
connection.

    waiting -> reading the head -> reading the body -> answering -> writing -> waiting
"""

import asyncio
import io
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol, cast

from serving.answers import Refused, Written, refusal, size_of
from serving.caller import Caller
from serving.memory import Memory
from serving.request import MEBI, UNCOUNTED_BYTES, Limits, Request, RequestReader, no_memory

LINGER_SECONDS = 2.0
"""How long a refused client may go on sending: were the connection closed at once, it might never see the answer."""
LINGER_BYTES = 64 * MEBI
LINGER_BODIES = 4
"""How much it may send meanwhile: so much, or as many of the largest bodies that are taken if that is more."""

LONG_BYTES = 128 * 1024
"""A piece of input of this size says that there is more where it came from."""

ANSWERS_IN_A_ROW = 32
"""How many requests of a client that does not wait are answered before the event loop looks at the others."""


_LATE = Refused(
    HTTPStatus.REQUEST_TIMEOUT,
    "The request did not arrive in time; send it faster or raise SERVING_HEAD_SECONDS or SERVING_BODY_SECONDS",
)
_CUT = Refused(HTTPStatus.BAD_REQUEST, "The request ended before it was complete")


class Front(Protocol):
    """What a connection needs of the worker that it belongs to."""

    limits: Limits
    memory: Memory
    """What the bodies that the connections hold, and the answers that nobody has read yet, may take together."""

    def answer(self, request: Request, connection: "Connection") -> None:
        """Have the request answered, now or later, by a call of `connection.send`."""

    def note_refusal(self, request: Request, peer: str, status: HTTPStatus) -> str:
        """Count and log an answer that the application does not give, and return the id that it shall carry."""

    def soon(self, call: Callable[[], None]) -> None:
        """Have something called when the event loop has looked at the other connections."""

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """The protocol of one connection. Used by the event loop's thread only."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._limits = front.limits
        self._reader = RequestReader(front.limits, front.memory)
        self._caller = Caller()
        self._held_back: list[bytes] = []
        self._answering = False
        self._advancing = False
        self._unsent = False
        self._unsent_bytes = 0
        self._ahead_bytes = 0
        self._answered: Request | None = None
        self._sent_ahead = False
        """Whether the client has asked for more before it had its answers, as far as these are still to come."""
        self._ended = False
        """Whether it has said all that it had to say."""
        self._lingering = False
        self._dropped_bytes = 0
        self._transport: asyncio.Transport
        self.peer = ""
        self.certificate: Mapping[str, Any] | None = None
        """The client's certificate, verified, as the ssl module describes it."""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self.certificate = transport.get_extra_info("peercert")
        self._allow(self._limits.head_seconds)
        self._front.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._caller.gone = True
        self._reader.close()
        self._front.memory.give_back(self._unsent_bytes + self._ahead_bytes)
        self._unsent_bytes = self._ahead_bytes = 0
        self._front.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._is_busy:  # a client that does not wait for answers: it waits until this one is sent
            self._hold_back(data)
            self._transport.pause_reading()
        elif self._lingering:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > max(LINGER_BYTES, LINGER_BODIES * self._limits.body_bytes):
                self.close()
        elif self._reader.refused is None:
            self._feed(data)
            self._advance()
            if len(data) >= LONG_BYTES and not self._is_busy:
                self._let_others_read()

    def eof_received(self) -> bool:
        if self._lingering:
            return False
        if self._answering or self._is_behind:
            self._ended = True
            if not (self._sent_ahead or self._reader.has_begun or self._is_behind):
                self._caller.gone = True  # it hung up, most likely; if not, it can still read what is computed already
            return True
        if not self.is_idle:
            self._reader.refuse(_CUT)
            self._advance()
        return False

    def pause_writing(self) -> None:
        self._unsent = True

    def resume_writing(self) -> None:
        self._unsent = False
        self._front.memory.give_back(self._unsent_bytes)
        self._unsent_bytes = 0
        self._advance()

    # What the worker calls.

    def send(self, answer: Written, keep_alive: bool) -> None:
        """Write the answer of the request in hand, and go on with what came after it."""
        self._answering = False
        if self._answered is not None:
            self._reader.let_go(self._answered)
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
        self._allow(wait)
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
            self._reader.refuse(_LATE)
            self._advance()

    @property
    def deadline(self) -> float:
        """When, on the monotonic clock, whatever the connection waits for must have come; see `expire`."""
        return self._reader.deadline

    def _allow(self, seconds: float) -> None:
        self._reader.deadline = time.monotonic() + seconds

    @property
    def is_idle(self) -> bool:
        """Whether the connection waits for a request of which nothing has come."""
        return not (self._reader.has_begun or self._answering or self._is_behind)

    @property
    def _is_behind(self) -> bool:
        """Whether requests, or what may hold some, have come and wait for their turn."""
        return bool(self._reader.complete or self._held_back)

    @property
    def _is_busy(self) -> bool:
        """Whether what comes now has to wait."""
        return self._answering or self._unsent or self._is_behind

    def close(self) -> None:
        """End the connection once what has been written is sent; the client has the time of a body to read it."""
        if not self._transport.is_closing():
            unsent = self._transport.get_write_buffer_size()
            self._allow(self._limits.transfer_seconds(unsent))
            self._transport.close()

    def _let_others_read(self) -> None:
        """Have the event loop look at the other connections before it reads on here, which it may do for megabytes."""
        self._transport.pause_reading()
        self._front.soon(self._transport.resume_reading)

    def _feed(self, data: bytes) -> None:
        rest = self._reader.feed(data)
        if rest:
            self._hold_back(rest)

    def _feed_held_back(self) -> None:
        """Parse on in what was sent ahead; read on when all of that is parsed."""
        data, self._held_back = b"".join(self._held_back), []
        self._front.memory.give_back(self._ahead_bytes)
        self._ahead_bytes = 0
        self._feed(data)
        if not self._held_back:
            self._transport.resume_reading()

    def _hold_back(self, data: bytes) -> None:
        """Keep what was sent ahead, if there is memory for it."""
        self._sent_ahead = True
        size = len(data) if len(data) > UNCOUNTED_BYTES else 0
        if self._front.memory.take(size):
            self._held_back.append(data)
            self._ahead_bytes += size
        else:
            self._reader.refuse(no_memory())

    def _advance(self) -> None:
        """Have the next request answered, as long as there is one; `send` may be called meanwhile or later."""
        if self._advancing:
            return
        self._advancing = True
        answers = 0
        while not (self._answering or self._unsent or self._transport.is_closing()):
            if self._reader.complete:
                if answers == ANSWERS_IN_A_ROW:
                    self._front.soon(self._advance)
                    break
                answers += 1
                self._answering = True
                self._answered = request = self._reader.complete.popleft()
                self._sent_ahead |= self._is_behind
                self._caller = request.caller
                self._front.answer(request, self)
            elif self._reader.refused is not None:
                self._answer_refused(self._reader.refused)
                break
            elif self._held_back:
                self._feed_held_back()
            elif self._ended and self._reader.has_begun:
                self._reader.refuse(_CUT)
            elif self._ended:
                self.close()
            else:
                self._sent_ahead = False
                if self._reader.continue_is_due:
                    self._reader.continue_is_due = False
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
        self._allow(LINGER_SECONDS)
        request = self._reader.request
        self._reader.let_go(request)
        request.body = io.BytesIO()
        request_id = self._front.note_refusal(request, self.peer, refused.status)
        self._transport.write(refusal(refused, request_id, request.method == "HEAD"))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
