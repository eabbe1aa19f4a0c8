"""The load generator: a process of its own, one thread, raw sockets, requests made beforehand.

It reads a pickled Job from its standard input and writes a pickled Outcome to its standard output. An answer is read no
further than is needed to find its end; the last one of each request is kept, to be checked afterwards. How much of a
core the generator itself took is part of the outcome.

Closed loop: each client sends its next request when it has the answer to the last. Open loop (`rate`): requests are due
at a constant rate, whatever the server does, and latency counts from when one was due.
"""

import array
import gc
import os
import pickle
import re
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from bench.places import ROOT

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_READ = _WRITE = 1 << 18
"""How much is moved in one call: a large one keeps a processor in the kernel, out of the reach of who is measured."""
_TRIES = 3  # of one request, since a server may close an idle connection at the moment of sending
_MAX_FAILURES = 20
PATIENCE_SECONDS = 8.0
DRAIN_SECONDS = 20.0


@dataclass(frozen=True)
class Job:
    """What to send to a port of 127.0.0.1, by how many clients and for how long; `rate` is in requests a second."""

    port: int
    requests: list[bytes]
    clients: int
    seconds: float
    rate: float = 0.0
    min_answers: int = 0
    """Go on until there are as many, but for no longer than three times `seconds`, or PATIENCE_SECONDS."""
    gives_way: bool = False
    """Leave the processors to whoever else wants them, as a client on another machine does."""


@dataclass
class Outcome:
    """What came back. Latencies are in milliseconds."""

    answered: int = 0
    seconds: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    total: int = 0
    """All answers, those after the time was up too."""
    missed: int = 0
    """Requests of an open loop that were due and not answered in time."""
    cpu_seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    answers: dict[int, bytes] = field(default_factory=dict)
    """The last answer to each request, by its place in the job, head and body."""


class _Client:
    """One connection, and the request that is under way on it."""

    __slots__ = ("due", "number", "partial", "socket", "tries", "unsent")

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket: socket.socket | None = None
        self.unsent: memoryview | None = None
        self.partial = bytearray()  # of the answer
        self.due = 0.0
        self.tries = 0  # of the request under way; 0 is none


class _Generator:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = job.requests
        self._poll = select.epoll()
        self._clients = [_Client(number) for number in range(job.clients)]
        self._by_file: dict[int, _Client] = {}
        self._latencies = array.array("d")
        # The length of an answer, and where it states which length of its body: what to expect of the next one.
        self._usual = (-1, 0, 0, b"")
        self._outcome = Outcome()
        self._closing = False
        self._idle = deque(self._clients)
        self._due: deque[float] = deque()
        self._under_way = 0

    def run(self) -> Outcome:
        """Send and receive for the time given, then wait for what is still under way."""
        cpu = time.process_time()
        gc.disable()
        if self._job.gives_way:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        started = time.perf_counter()
        if self._job.rate:
            self._run_open(started)
        else:
            self._run_closed(started)
        self._note(time.perf_counter() - started)
        self._drain()
        self._outcome.cpu_seconds = time.process_time() - cpu
        return self._outcome

    def _run_closed(self, started: float) -> None:
        for client in list(self._idle):
            self._begin(client, time.perf_counter())
        self._idle.clear()
        end = started + self._job.seconds
        last = started + max(3 * self._job.seconds, PATIENCE_SECONDS)
        while (now := time.perf_counter()) < end or (now < last and len(self._latencies) < self._job.min_answers):
            if self._failed():
                return
            self._handle(self._poll.poll(min(0.5, max(end, now + 0.001) - now)))

    def _run_open(self, started: float) -> None:
        interval, sent = 1 / self._job.rate, 0
        end = started + self._job.seconds
        while (now := time.perf_counter()) < end and not self._failed():
            while (due := started + sent * interval) <= now:
                sent += 1
                self._due.append(due)
            self._begin_due()
            # epoll counts in milliseconds; select on the epoll itself waits as exactly as the system can.
            select.select([self._poll], [], [], min(end, due) - now)
            self._handle(self._poll.poll(0))
        self._outcome.missed = sent - len(self._latencies)

    def _begin_due(self) -> None:
        while self._due and self._idle:
            self._begin(self._idle.popleft(), self._due.popleft())

    def _handle(self, events: list[tuple[int, int]]) -> None:
        for file, event in events:
            client = self._by_file.get(file)
            if client is None:
                continue
            connection = client.socket
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive(client)
            if event & select.EPOLLOUT and client.unsent is not None and client.socket is connection:
                self._send_rest(client)

    def _begin(self, client: _Client, due: float) -> None:
        """Start the next request of a client."""
        client.due = due
        client.tries = 0
        client.number += 1
        self._under_way += 1
        self._try(client)

    def _try(self, client: _Client) -> None:
        client.tries += 1
        if client.socket is None and not self._connect(client):
            self._fail(client, "cannot connect")
            return
        assert client.socket is not None
        request = self._requests[client.number % len(self._requests)]
        try:
            sent = client.socket.send(memoryview(request)[:_WRITE])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._broken(client)
            return
        if sent < len(request):
            client.unsent = memoryview(request)[sent:]
            self._poll.modify(client.socket, select.EPOLLIN | select.EPOLLOUT)

    def _connect(self, client: _Client) -> bool:
        try:
            connection = socket.create_connection(("127.0.0.1", self._job.port), timeout=10)
        except OSError:
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.socket = connection
        self._by_file[connection.fileno()] = client
        self._poll.register(connection, select.EPOLLIN)
        return True

    def _send_rest(self, client: _Client) -> None:
        assert client.socket is not None
        assert client.unsent is not None
        try:
            sent = client.socket.send(client.unsent[:_WRITE])
        except BlockingIOError:
            return
        except OSError:
            self._broken(client)
            return
        client.unsent = client.unsent[sent:]
        if not client.unsent:
            client.unsent = None
            self._poll.modify(client.socket, select.EPOLLIN)

    def _receive(self, client: _Client) -> None:
        assert client.socket is not None
        try:
            data = client.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        length, start, end, stated = self._usual
        if len(data) == length and not client.partial and data[start:end] == stated:
            self._finish(client, data)
            return
        client.partial += data
        if not data:
            self._ended(client)
        elif _is_whole(client.partial):
            self._finish_unusual(client)

    def _ended(self, client: _Client) -> None:
        """The server has closed the connection: the end of an answer without a length, or trouble."""
        if client.partial and _ends_with_connection(client.partial):
            self._finish_unusual(client)
        else:
            self._broken(client)

    def _broken(self, client: _Client) -> None:
        self._disconnect(client)
        if not client.tries:
            return
        if client.tries < _TRIES:
            self._try(client)
        else:
            self._fail(client, "the server closed the connection")

    def _finish_unusual(self, client: _Client) -> None:
        """Look closer at an answer; one like it need not be looked at again."""
        answer = bytes(client.partial)
        client.partial.clear()
        head = answer[: answer.find(b"\r\n\r\n") + 2]
        if _CLOSES.search(head) or client.unsent is not None:
            self._disconnect(client)
        elif answer[9:12] == b"200" and (length := _LENGTH.search(head)):
            self._usual = (len(answer), *length.span(), length[0])
        self._finish(client, answer)

    def _finish(self, client: _Client, answer: bytes) -> None:
        now = time.perf_counter()
        outcome = self._outcome
        client.tries = 0
        self._under_way -= 1
        outcome.total += 1
        if answer[9:12] == b"200":
            if not self._closing:
                self._latencies.append(now - client.due)
            outcome.answers[client.number % len(self._requests)] = answer
        else:
            outcome.failures[_reason(answer)] += 1
        self._next(client, now)

    def _fail(self, client: _Client, reason: str) -> None:
        self._under_way -= 1
        client.tries = 0
        self._outcome.failures[reason] += 1
        if not self._failed():
            self._next(client, time.perf_counter())

    def _next(self, client: _Client, now: float) -> None:
        if self._closing:
            return
        if not self._job.rate:
            self._begin(client, now)
            return
        self._idle.append(client)
        self._begin_due()

    def _failed(self) -> bool:
        return self._outcome.failures.total() >= _MAX_FAILURES

    def _disconnect(self, client: _Client) -> None:
        if client.socket is not None:
            del self._by_file[client.socket.fileno()]
            client.socket.close()
            client.socket = None
        client.unsent = None
        client.partial.clear()

    def _note(self, seconds: float) -> None:
        outcome, latencies = self._outcome, sorted(self._latencies)
        self._closing = True
        outcome.answered, outcome.seconds = len(latencies), seconds
        if latencies:
            outcome.p50, outcome.p90, outcome.p99 = (percentile(latencies, part) * 1000 for part in (0.5, 0.9, 0.99))
            outcome.worst = latencies[-1] * 1000

    def _drain(self) -> None:
        end = time.perf_counter() + DRAIN_SECONDS
        while self._under_way and not self._failed() and time.perf_counter() < end:
            self._handle(self._poll.poll(0.2))
        for client in self._clients:
            self._disconnect(client)


def percentile(ordered: list[float], part: float) -> float:
    """The value that a part of the ordered values does not exceed."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _is_whole(buffer: bytearray) -> bool:
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    if length := _LENGTH.search(buffer, 0, end + 2):
        return len(buffer) >= end + 4 + int(length[1])
    return bool(_CHUNKED.search(buffer, 0, end + 2)) and buffer.endswith(b"\r\n0\r\n\r\n")


def _ends_with_connection(buffer: bytearray) -> bool:
    """Whether an answer states no length, so that it is whole when the connection ends."""
    end = buffer.find(b"\r\n\r\n")
    return end >= 0 and not _LENGTH.search(buffer, 0, end + 2) and not _CHUNKED.search(buffer, 0, end + 2)


def _reason(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    return f"{head[9:12].decode()} {body[:200].decode(errors='replace')}"


def split(answer: bytes) -> tuple[bytes, bytes]:
    """The head and the body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, _unchunked(body) if _CHUNKED.search(head + b"\r\n") else body


def _unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        parts.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return b"".join(parts)


def run(job: Job) -> Outcome:
    """Run a job in a process of its own."""
    command = [sys.executable, "-m", "bench.load"]
    limit = 4 * job.seconds + PATIENCE_SECONDS + DRAIN_SECONDS + 60
    done = subprocess.run(command, input=pickle.dumps(job), cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=limit)
    outcome: Outcome = pickle.loads(done.stdout)
    return outcome


if __name__ == "__main__":
    import bench.load

    # Through the module's own name, so that what is pickled has it.
    order: Job = pickle.load(sys.stdin.buffer)
    pickle.dump(bench.load._Generator(order).run(), sys.stdout.buffer)
