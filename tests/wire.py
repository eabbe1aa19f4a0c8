"""One end of a connection without a network: a transport that keeps what is written, a front that answers."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from serving.connection import Connection
from serving.memory import Memory
from serving.request import MEBI, Limits, Request
from serving.settings import Settings

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 4000)})
        self.written = b""
        self.closed = False
        self.aborted = False
        self.reading = True
        self.half_closed = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class FakeFront:
    """Answers each request with its method, target and body, at once or when told to."""

    def __init__(self, at_once: bool = True, memory: int = 128 * MEBI, **limits: Any) -> None:
        self.limits = replace(Limits.of(Settings()), **limits)
        self.memory = Memory(memory)
        self.at_once = at_once
        self.requests: list[Request] = []
        self.waiting: list[tuple[Request, Connection]] = []
        self.due: list[Callable[[], None]] = []
        self.open = 0
        self.refusals: list[tuple[str, bytes, str, int]] = []

    def answer(self, request: Request, connection: Connection) -> None:
        self.requests.append(request)
        if self.at_once:
            self.send(request, connection)
        else:
            self.waiting.append((request, connection))

    def send(self, request: Request, connection: Connection) -> None:
        connection.send(b"<%s %s>" % (request.target, bytes(request.body.getbuffer())), request.keep_alive)

    def send_waiting(self) -> None:
        self.send(*self.waiting.pop(0))

    def note_refusal(self, request: Request, peer: str, status: HTTPStatus) -> str:
        self.refusals.append((request.method, request.target, peer, status.value))
        return "the-id"

    def soon(self, call: Callable[[], None]) -> None:
        self.due.append(call)

    def go_on(self) -> None:
        """Go on as the event loop does, until nothing is due any more."""
        while self.due:
            self.due.pop(0)()

    def opened(self, connection: Connection) -> None:
        self.open += 1

    def closed(self, connection: Connection) -> None:
        self.open -= 1


def connect(front: FakeFront) -> tuple[Connection, FakeTransport]:
    connection, transport = Connection(front), FakeTransport()
    connection.connection_made(transport)
    return connection, transport
