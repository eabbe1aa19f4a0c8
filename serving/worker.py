"""The gunicorn worker class of the server: an event loop in front, the WSGI application behind it.

Connections are read in the event loop (see serving/connection.py). A request that the application says is quick is
answered in the loop itself, which is twice as fast as handing it to a thread; every other one in a few threads.
"""

import asyncio
import contextlib
import logging
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import cast

import uvloop
from gunicorn.sock import ssl_context
from gunicorn.workers.base import Worker

from serving.connection import (
    Application,
    Connection,
    Environ,
    Limits,
    Refused,
    Request,
    call,
    environ_of,
    refusal,
)
from serving.settings import Settings

log = logging.getLogger(__name__)

IsQuick = Callable[[str, bytes, int], bool]
"""Whether a request may be answered in the event loop: its method, target and size of body."""

MAX_WORKERS = 1024
TICK_SECONDS = 0.5
"""How often deadlines are looked at."""
LINGER_SECONDS = 2.0
"""How long idle connections of a stopping worker stay open, for a request that may be on its way."""
YIELD_SECONDS = 0.002
"""How long a worker with more connections than another leaves a new one to that other."""

_connections = memoryview(mmap.mmap(-1, 4 * MAX_WORKERS)).cast("i")
"""Open connections of every worker by its number; memory that all workers share."""


class LoopWorker(Worker):  # type: ignore[misc]
    """One worker process."""

    def run(self) -> None:
        """Serve until told to stop."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Front(self, Settings.from_environ()).serve())


class _Front:
    """What the connections of a worker share: the application, the threads, the limits."""

    def __init__(self, worker: LoopWorker, settings: Settings) -> None:
        self._worker = worker
        self._application = cast(Application, worker.wsgi)
        self._is_quick: IsQuick = worker.wsgi.extensions["is_quick"]
        self._index = settings.worker_index % MAX_WORKERS
        self._siblings = range(min(max(settings.workers, self._index + 1), MAX_WORKERS))
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(settings.threads or 8, thread_name_prefix="request")
        self._tls = ssl_context(worker.cfg) if worker.cfg.is_ssl else None
        self._stopping = asyncio.Event()
        self._draining = False
        self._at_once = False
        self._base: Environ = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": settings.host,
            "SERVER_PORT": str(settings.port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if self._tls else "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        self.limits = Limits(body_bytes=settings.max_body_bytes, idle_seconds=worker.cfg.keepalive)

    async def serve(self) -> None:
        """Accept and answer until the worker is told to stop; then finish what has begun."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        for at_once in (signal.SIGINT, signal.SIGQUIT):
            self._loop.add_signal_handler(at_once, self._stop_at_once)
        _connections[self._index] = 0
        listeners = [listener.sock for listener in self._worker.sockets]
        for listener in listeners:
            listener.setblocking(False)
            self._loop.add_reader(listener.fileno(), self._accept, listener)
        while not self._stopping.is_set() and self._worker.ppid == os.getppid():
            await self._tick()
        for listener in listeners:
            self._loop.remove_reader(listener.fileno())
        if not self._at_once:
            await self._drain()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # What the connections call.

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)
        _connections[self._index] = len(self._open)

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        _connections[self._index] = len(self._open)

    def answer(self, request: Request, connection: Connection) -> None:
        """Have a request answered: here when it is quick, else in a thread."""
        if self._is_quick(request.method, request.target, request.body_bytes):
            connection.send(*self._answer(request, connection))
        else:
            self._pool.submit(self._answer_later, request, connection)

    def _answer_later(self, request: Request, connection: Connection) -> None:
        answer, keep_alive = self._answer(request, connection)
        self._loop.call_soon_threadsafe(connection.send, answer, keep_alive)

    def _answer(self, request: Request, connection: Connection) -> tuple[bytes, bool]:
        keep_alive = request.keep_alive and not self._draining
        try:
            return call(self._application, environ_of(request, connection, self._base), keep_alive), keep_alive
        except Exception:
            log.exception("the application failed")
            return refusal(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed on this request")), False

    # Accepting, the clock, the end.

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection, unless a sibling has fewer: then leave it to that one for a moment."""
        if len(self._open) > min(_connections[index] for index in self._siblings):
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(YIELD_SECONDS, self._accept_now, listener)
        else:
            self._accept_now(listener)

    def _accept_now(self, listener: socket.socket) -> None:
        if self._stopping.is_set():
            return
        self._loop.add_reader(listener.fileno(), self._accept, listener)
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = self._loop.create_task(self._serve_client(client))
        self._tasks.add(made)
        made.add_done_callback(self._tasks.discard)

    async def _serve_client(self, client: socket.socket) -> None:
        handshake = {"ssl_handshake_timeout": self.limits.head_seconds} if self._tls else {}
        with contextlib.suppress(OSError):  # a client that gave up, or spoke no TLS
            await self._loop.connect_accepted_socket(lambda: Connection(self), client, ssl=self._tls, **handshake)

    async def _tick(self) -> None:
        """Wait a moment, tell the parent that this worker is alive, and end connections that are out of time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)
        self._worker.notify()
        now = time.monotonic()
        for connection in [connection for connection in self._open if connection.deadline < now]:
            connection.expire()

    async def _drain(self) -> None:
        """Answer what has begun and what still arrives on open connections, and close each as it falls idle."""
        self._draining = True
        started = time.monotonic()
        while self._open and time.monotonic() < started + self._worker.cfg.graceful_timeout:
            if time.monotonic() > started + LINGER_SECONDS:
                for connection in [connection for connection in self._open if connection.is_idle]:
                    connection.close()
            self._worker.notify()
            await asyncio.sleep(0.02)

    def _stop_at_once(self) -> None:
        self._at_once = True
        self._stopping.set()
