"""The gunicorn worker class of the server: an event loop in front, the WSGI application behind it.

Connections are read in the event loop (see serving/connection.py). A request that the application says
may be is answered in the loop itself, in a fiber (serving/fibers.py); every other one in a few threads.
"""

import asyncio
import contextlib
import faulthandler
import io
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import uvloop
from gunicorn.sock import ssl_context
from gunicorn.workers.base import Worker

from serving import capacity, generations, heap
from serving.answers import Refused, Written, refusal
from serving.beat import Work, beat
from serving.caller import TIMED_OUT, timeout_ms
from serving.connection import Connection
from serving.deadlines import Deadlines
from serving.fibers import Fibers
from serving.lanes import Lanes
from serving.listeners import Listeners
from serving.memory import Memory
from serving.models.runs import Run, crash_file
from serving.precedence import precedence
from serving.request import Limits, Request
from serving.settings import Settings
from serving.turns import Turns
from serving.watchdog import Watchdog
from serving.wsgi import SENDS_MEMORY, Application, Environ, call, environ_of, environ_of_refused

log = logging.getLogger(__name__)

IsQuick = Callable[[str, bytes, int, bytes], bool]
"""Whether a request may be answered in the event loop: its method, target, size of body, and Content-Type."""

NoteRefusal = Callable[[Environ, int], str]
"""Records an answer of this status that the application did not give; returns the id that it shall carry."""

LaneOf = Callable[[bytes], str]
"""The lane that a request with this target belongs to."""

TICK_SECONDS = 0.5
"""How often deadlines are looked at."""
LINGER_SECONDS = 2.0
"""How long idle connections of a stopping worker stay open, for a request that may be on its way."""

OVERDUE_SECONDS = 5.0
"""How long after it ought to have been stopped a run has shown that it cannot be."""
SILENT_SECONDS = 10.0
"""How long a run may hold up the event loop, where none ought to take longer than some milliseconds."""

SWITCH_SECONDS = 0.0005
"""How soon a thread that reads a large body lets the event loop go on, which it asks for several times a request."""

STUCK_STATUS = 1
"""The exit status of a worker with a run that cannot be stopped."""


class LoopWorker(Worker):  # type: ignore[misc]
    """One worker process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.generation = generations.current()
        self.is_stuck = False
        """Whether a run goes on that cannot be stopped, so that the process cannot end in the usual way."""

    def init_signals(self) -> None:
        """Have a fault of native code, and an abort from outside, noted for the parent to find."""
        super().init_signals()
        directory = Settings.from_environ().runs_dir
        if directory is not None and directory.is_dir():
            try:
                self._last_words = crash_file(directory, os.getpid()).open("wb")
            except OSError as error:  # a worker that cannot say why it ends is better than none
                log.error("should this worker end by a fault, that cannot be noted: %s", error)
                return
            faulthandler.enable(self._last_words, all_threads=False)

    def run(self) -> None:
        """Serve until told to stop."""
        sys.setswitchinterval(SWITCH_SECONDS)
        settings = Settings.from_environ()
        heap.keep_at_most(settings.kept_bytes // (settings.threads or capacity.THREADS))
        heap.give_back_regularly()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Front(self, settings).serve())


class _Front:
    """What the connections of a worker share: the application, the threads, the limits."""

    def __init__(self, worker: LoopWorker, settings: Settings) -> None:
        self._worker = worker
        self._application = cast(Application, worker.wsgi)
        self._is_quick: IsQuick = worker.wsgi.extensions["is_quick"]
        self._note_refusal: NoteRefusal = worker.wsgi.extensions["note_refusal"]
        self._listeners = Listeners(
            [listener.sock for listener in worker.sockets],
            settings.worker_index,
            settings.workers,
            int(worker.cfg.worker_connections),
            self._serve_client,
        )
        self._lane: LaneOf = worker.wsgi.extensions["lane"]
        self._runs_in_loop: Callable[[str], bool] = worker.wsgi.extensions["runs_in_loop"]
        self._lanes = Lanes(settings.threads or capacity.THREADS, settings.max_queued_requests)
        self._most_waiting = settings.max_queued_requests
        self._leave: Callable[[str], None] = worker.wsgi.extensions["leave"]
        self._unready_seconds = settings.unready_seconds
        self._told = False
        self._goes = False
        self._ticked = time.monotonic()
        self._timeout_seconds = settings.request_timeout_seconds
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
            SENDS_MEMORY: True,
        }
        self.memory = Memory(settings.bodies_bytes)
        self.limits = Limits.of(settings)

    async def serve(self) -> None:
        """Accept and answer until the worker is told to stop; then finish what has begun."""
        self._loop = asyncio.get_running_loop()
        self._fibers = Fibers(self._loop, self._is_alone)
        self._turns = Turns(self._loop, lambda: beat.is_at_work, self._runs_in_loop, self._most_waiting)
        self._deadlines = Deadlines(self._loop.call_later, self._answer_late)
        self._loop.add_signal_handler(signal.SIGTERM, self._be_told)
        for at_once in (signal.SIGINT, signal.SIGQUIT):
            self._loop.add_signal_handler(at_once, self._stop_at_once)
        if not self._worker.alive:  # told to stop while the models were loading
            generations.stops(self._worker.generation)
            return
        self._listeners.start()
        generations.serves(self._worker.generation)
        Watchdog(self._worker.wsgi.extensions["runs"].now, self._run_limit, self._retire).start()
        while self._worker.alive and not self._stopping.is_set() and self._worker.ppid == os.getppid():
            await self._tick()
        self._stopping.set()
        self._draining = True
        self._listeners.stop()
        if not self._at_once:
            await self._drain()

    # What the connections call.

    def soon(self, call: Callable[[], None]) -> None:
        self._loop.call_soon(call)

    def opened(self, connection: Connection) -> None:
        self._listeners.opened(connection)

    def closed(self, connection: Connection) -> None:
        self._listeners.closed(connection)

    def answer(self, request: Request, connection: Connection) -> None:
        """Have a request answered: in the loop where that holds up nobody, else in a thread, if not too many wait."""
        lane = self._lane(request.target)
        in_loop = not request.is_compressed and self._is_quick(
            request.method, request.target, request.body_bytes, request.content_type
        )
        beat.note(Work(lane, in_loop))
        precedence.claim(self._loop)
        if in_loop:
            self._answer_in_loop(request, connection, lane)
        else:
            self._answer_in_thread(request, connection, lane)
        self._worker.nr += 1
        if self._worker.nr == self._worker.max_requests:
            log.info("worker %d has answered %d requests and makes room for another", os.getpid(), self._worker.nr)
            self._stopping.set()

    def _is_alone(self) -> bool:
        """Whether there is one connection only, which brings one request at a time."""
        return len(self._listeners.open) == 1

    def _answer_in_loop(self, request: Request, connection: Connection, lane: str) -> None:
        def begin() -> None:
            self._fibers.run(lambda: self._answer(request, connection), lambda answer: connection.send(*answer))

        if self._is_alone():
            begin()
        elif not self._turns.submit(lane, begin):
            connection.send(*self._refuse(request, connection, _TOO_BUSY, self._stays(request)))

    def note_refusal(self, request: Request, peer: str, status: HTTPStatus) -> str:
        return self._note_refusal(request.environ or environ_of_refused(request, peer), status.value)

    def _answer_in_thread(self, request: Request, connection: Connection, lane: str) -> None:
        caller = request.caller
        caller.allow(_seconds_asked(request))
        if not self._lanes.submit(lane, lambda: self._answer_later(request, connection)):
            connection.send(*self._refuse(request, connection, _TOO_BUSY, self._stays(request)))
            return
        self._deadlines.watch(request, connection)

    def _answer_late(self, request: Request, connection: Connection) -> None:
        request.body = io.BytesIO()  # whatever still waits to read it no longer will
        connection.send(*self._refuse(request, connection, _OUT_OF_TIME, self._stays(request)))

    def _send(self, request: Request, connection: Connection, answer: Written, keep_alive: bool) -> None:
        if self._deadlines.is_in_time(request):
            connection.send(answer, keep_alive)

    def _stays(self, request: Request) -> bool:
        return request.keep_alive and not self._draining

    def _answer_later(self, request: Request, connection: Connection) -> None:
        if request.caller.is_claimed:
            return
        answer, keep_alive = self._answer(request, connection)
        with contextlib.suppress(RuntimeError):  # the loop has ended without waiting for this answer
            self._loop.call_soon_threadsafe(self._send, request, connection, answer, keep_alive)

    def _answer(self, request: Request, connection: Connection) -> tuple[Written, bool]:
        keep_alive = self._stays(request)
        try:
            request.environ = environ_of(request, connection, self._base)
            return call(self._application, request.environ, keep_alive), keep_alive
        except Exception:
            log.exception("the application failed")
            return self._refuse(request, connection, _FAILED, keep_alive=False)

    def _refuse(
        self, request: Request, connection: Connection, refused: Refused, keep_alive: bool
    ) -> tuple[bytes, bool]:
        request_id = self.note_refusal(request, connection.peer, refused.status)
        return refusal(refused, request_id, request.method == "HEAD", keep_alive), keep_alive

    # The clock, the end.

    async def _serve_client(self, client: socket.socket) -> None:
        handshake = {"ssl_handshake_timeout": self.limits.head_seconds} if self._tls else {}
        with contextlib.suppress(OSError):  # a client that gave up, or spoke no TLS
            await self._loop.connect_accepted_socket(lambda: Connection(self), client, ssl=self._tls, **handshake)

    async def _tick(self) -> None:
        """Wait a moment, tell the parent that this worker is alive, and end connections that are out of time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)
        self._worker.notify()
        self._ticked = time.monotonic()
        self._expire()
        if self._told:
            self._make_way()

    def _expire(self) -> None:
        now = time.monotonic()
        for connection in [connection for connection in self._listeners.open if connection.deadline < now]:
            connection.expire()

    async def _drain(self) -> None:
        """Answer what has begun or waits to be accepted and what still arrives; close connections as they fall idle."""
        started = time.monotonic()
        seconds = self._worker.cfg.graceful_timeout - self._unready_seconds
        self._listeners.take_waiting()
        while not self._listeners.is_empty and time.monotonic() < started + seconds:
            if time.monotonic() > started + LINGER_SECONDS:
                for connection in [connection for connection in self._listeners.open if connection.is_idle]:
                    connection.close()
            self._worker.notify()
            self._ticked = time.monotonic()
            self._expire()
            await asyncio.sleep(0.02)

    def _be_told(self) -> None:
        self._told = True
        self._make_way()

    def _make_way(self) -> None:
        """Stop as told: with the server, not ready first; at a reload, as soon as another worker has taken over."""
        if self._goes:
            return
        if generations.stops(self._worker.generation):
            self._goes = True
            self._leave("the server is stopping")
            self._loop.call_later(self._unready_seconds, self._stopping.set)
        elif generations.is_replaced(self._worker.generation):
            self._goes = True
            self._stopping.set()

    def _stop_at_once(self) -> None:
        self._at_once = True
        self._stopping.set()

    # What cannot be stopped.

    def _run_limit(self) -> float:
        """How long a run may take now; called by the watchdog."""
        if time.monotonic() - self._ticked > SILENT_SECONDS:
            return SILENT_SECONDS
        return self._timeout_seconds + OVERDUE_SECONDS

    def _retire(self, run: Run, seconds: float) -> None:
        """Make room for another worker, since a run goes on that cannot be stopped; called by the watchdog."""
        cause = f"a run of model {run.of.model} version {run.of.version} has not ended for {seconds:.0f} s"
        log.error("worker %d makes room for another: %s, and nothing stops it", os.getpid(), cause)
        self._worker.is_stuck = True
        self._loop.call_soon_threadsafe(self._leave, "a run goes on that cannot be stopped")
        self._loop.call_soon_threadsafe(self._stopping.set)
        while time.monotonic() - self._ticked < SILENT_SECONDS:  # the event loop may be what the run holds up
            time.sleep(TICK_SECONDS)
        os._exit(STUCK_STATUS)


_OUT_OF_TIME = Refused(
    HTTPStatus.GATEWAY_TIMEOUT, f"{TIMED_OUT}: the time allowed for the request was over before it was answered"
)
_FAILED = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed on this request")
_TOO_BUSY = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests are waiting already; try again later")


def _seconds_asked(request: Request) -> float:
    """The time that the headers of a request ask for; what is wrong with them the application will say."""
    milliseconds = timeout_ms(request.header(b"x-request-timeout-ms").decode("latin-1"))
    return math.inf if milliseconds is None else milliseconds / 1000
