"""Clients that ask the same again and again, in a thread of their own, and note what becomes of every request."""

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BROKEN = 0
"""Stands for the status of a request whose connection ended before its answer."""


@dataclass(frozen=True)
class Asked:
    """A request: when it was due to be sent (monotonic clock), how long it took, and the status of its answer."""

    at: float
    seconds: float
    status: int


class Load:
    """As many clients as are asked for, each of which sends its next request when it has the answer to the last."""

    def __init__(self, port: int, request: bytes, clients: int, pause: float = 0.0, rate: float = 0.0) -> None:
        """`pause` is how long a client waits before it asks again, in seconds.

        With a `rate` requests are due at so many a second instead, whatever becomes of them; whichever client is free
        sends the next, and its time counts from when it was due.
        """
        self.asked: list[Asked] = []
        self.port, self.request, self.pause = port, request, pause
        self.stopped = False
        self._clients, self._rate = clients, rate
        self._started, self._sent = 0.0, 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped = True
        self._thread.join()

    def for_seconds(self, seconds: float) -> list[Asked]:
        """Run by itself for so long; what was asked."""
        with self:
            time.sleep(seconds)
        return self.asked

    async def turn(self) -> float:
        """Wait until whoever asks is to send a request; when it was due."""
        if not self._rate:
            return time.monotonic()
        self._sent += 1
        due = self._started + self._sent / self._rate
        await asyncio.sleep(due - time.monotonic())
        return due

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        await asyncio.gather(*(_Client(self, loop).run() for _ in range(self._clients)))


@contextmanager
def flood(port: int, request: bytes, clients: int) -> Iterator[None]:
    """A load in a process of its own, so that it does not hold up what is measured here; it must be answered 200."""
    command = [sys.executable, "-m", "tests.faults.load", str(port), str(clients), str(len(request))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        try:
            assert process.stdout.readline() == b"answered\n"
            yield
        finally:
            process.stdin.close()  # which ends it
        assert json.loads(process.stdout.readline()) == [200]


class _Client(asyncio.Protocol):
    def __init__(self, load: Load, loop: asyncio.AbstractEventLoop) -> None:
        self._load, self._loop = load, loop
        self._answer = bytearray()
        self._transport: Any = None
        self._whole: asyncio.Future[int] | None = None

    async def run(self) -> None:
        while not self._load.stopped:
            due = await self._load.turn()
            status = await self._ask()
            self._load.asked.append(Asked(due, time.monotonic() - due, status))
            if self._load.pause or status == BROKEN:
                await asyncio.sleep(self._load.pause or 0.01)
        if self._transport is not None:
            self._transport.abort()

    async def _ask(self) -> int:
        self._answer.clear()
        self._whole = self._loop.create_future()
        try:
            if self._transport is None or self._transport.is_closing():
                self._transport, _ = await self._loop.create_connection(lambda: self, "127.0.0.1", self._load.port)
            self._transport.write(self._load.request)
        except OSError:
            return BROKEN
        return await self._whole

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, ends, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if ends and length and len(body) >= int(length[1]):
            if b"\r\nconnection: close" in head.lower():
                self._transport.close()
                self._transport = None
            self._end(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is None or self._transport.is_closing():
            self._transport = None
            self._end(BROKEN)

    def _end(self, status: int) -> None:
        if self._whole is not None and not self._whole.done():
            self._whole.set_result(status)


def predict(model: str, instances: Any, *headers: str) -> bytes:
    """A predict request as it is sent."""
    return post(f"/v1/models/{model}:predict", {"instances": instances}, *headers)


def post(path: str, body: Any, *headers: str) -> bytes:
    text = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(text)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def latency(asked: Iterable[Asked], part: float, status: int = 200) -> float:
    """The seconds that a part of the answers with a status did not exceed; infinite where there are none."""
    ordered = sorted(its.seconds for its in asked if its.status == status)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("inf")


def count(asked: Iterable[Asked], wanted: Callable[[Asked], bool]) -> int:
    return sum(wanted(its) for its in asked)


def goodput(asked: Iterable[Asked], seconds: float) -> float:
    """Requests a second that were answered 200."""
    return count(asked, lambda its: its.status == 200) / seconds


def _flood_until_told(port: str, clients: str, size: str) -> None:
    """What the process of a `flood` does; it writes with which statuses it was answered."""
    with Load(int(port), sys.stdin.buffer.read(int(size)), int(clients)) as load:
        while not load.asked:
            time.sleep(0.01)
        print("answered", flush=True)
        sys.stdin.buffer.read()
    print(sorted({asked.status for asked in load.asked}), flush=True)


if __name__ == "__main__":
    _flood_until_told(*sys.argv[1:])
