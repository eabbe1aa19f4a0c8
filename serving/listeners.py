"""The sockets that a worker accepts connections from.

All workers listen to the same sockets. Clients keep their connections, so a worker leaves a new one to a sibling that
has fewer, if only for a moment: who has how many is in memory that all share.
"""

import asyncio
import logging
import mmap
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from serving.connection import Connection

log = logging.getLogger(__name__)

MAX_WORKERS = 1024
YIELD_SECONDS = 0.002
"""How long a worker with more connections than another leaves a new one to that other."""
AT_ONCE = 8
"""How many connections are accepted in a turn of the event loop: with one, the last of many waits for as many turns."""
PAUSE_SECONDS = 0.1
"""How long a worker that has all the connections it can have accepts no more."""

NO_WORKER = -1
connections = memoryview(mmap.mmap(-1, 4 * MAX_WORKERS)).cast("i")
"""Connections of every worker that accepts any, with those in the making, by its number; memory that all share."""
for _index in range(MAX_WORKERS):
    connections[_index] = NO_WORKER


def forget(index: int) -> None:
    """Have no worker wait for the one of this number, which has ended; called in the parent."""
    connections[index % MAX_WORKERS] = NO_WORKER


def another_has_fewer(own: int, counts: list[int]) -> bool:
    """Whether a worker that runs has fewer connections than `own`; slots without a worker do not count."""
    return any(count < own for count in counts if count != NO_WORKER)


class Listeners:
    """Accepts connections for one worker. Used by the event loop's thread only."""

    def __init__(
        self,
        sockets: list[socket.socket],
        index: int,
        workers: int,
        most: int,
        serve: Callable[[socket.socket], Coroutine[Any, Any, None]],
    ) -> None:
        """For worker `index` of so many, which has at most so many connections at once; `serve` makes one of a socket.

        During a reload there are twice as many workers or more; the new ones get the next numbers.
        """
        self.open: set[Connection] = set()
        """The connections that there are."""
        self._made: set[asyncio.Task[None]] = set()
        self._sockets = sockets
        self._index = index % MAX_WORKERS
        self._siblings = range(min(max(4 * workers, self._index + 1), MAX_WORKERS))
        self._most = most
        self._serve = serve
        self._accepts = False
        self._fails = False

    def start(self) -> None:
        """Accept connections from now on."""
        self._loop = asyncio.get_running_loop()
        self._accepts = True
        self._count()
        for listener in self._sockets:
            listener.setblocking(False)
            self._listen(listener)

    def stop(self) -> None:
        """Accept no more."""
        self._accepts = False
        self._count()
        for listener in self._sockets:
            self._loop.remove_reader(listener.fileno())

    def take_waiting(self) -> None:
        """Accept those that wait to be, as the last."""
        for listener in self._sockets:
            while not self._is_full and self._take(listener):
                pass

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)
        self._count()

    def closed(self, connection: Connection) -> None:
        self.open.discard(connection)
        self._count()

    @property
    def is_empty(self) -> bool:
        """Whether there is no connection, nor one in the making."""
        return not (self.open or self._made)

    @property
    def _is_full(self) -> bool:
        return self._all >= self._most

    @property
    def _all(self) -> int:
        """How many connections there are and are about to be."""
        return len(self.open) + len(self._made)

    def _count(self) -> None:
        connections[self._index] = self._all if self._accepts else NO_WORKER

    def _listen(self, listener: socket.socket) -> None:
        if self._accepts:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take some connections, unless a sibling has fewer: then leave them to that one for a moment."""
        for _ in range(AT_ONCE):
            if self._is_full:
                self._pause(listener, PAUSE_SECONDS, self._listen)
                return
            if another_has_fewer(self._all, [connections[index] for index in self._siblings]):
                self._pause(listener, YIELD_SECONDS, self._accept_now)
                return
            if not self._take(listener):
                return

    def _accept_now(self, listener: socket.socket) -> None:
        if self._accepts:
            self._listen(listener)
            self._take(listener)

    def _pause(self, listener: socket.socket, seconds: float, then: Callable[[socket.socket], None]) -> None:
        self._loop.remove_reader(listener.fileno())
        self._loop.call_later(seconds, partial(then, listener))

    def _take(self, listener: socket.socket) -> bool:
        """Accept one connection; False when there is none, or none can be had."""
        try:
            client, _ = listener.accept()
        except ConnectionAbortedError:
            return True
        except BlockingIOError:
            return False
        except OSError as error:  # no file descriptor is left, or no memory: both may come back
            if not self._fails:
                log.error("cannot accept connections: %s", error)
            self._fails = True
            self._pause(listener, PAUSE_SECONDS, self._listen)
            return False
        self._fails = False
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = self._loop.create_task(self._serve(client))
        self._made.add(made)
        made.add_done_callback(self._is_made)
        self._count()
        return True

    def _is_made(self, made: asyncio.Task[None]) -> None:
        self._made.discard(made)
        self._count()
