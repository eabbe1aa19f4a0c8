"""Fibers: requests that are answered in the event loop and let it go on while they wait.

A request that waits in a thread holds up that thread only; in an event loop it would hold up everybody. So there each
request runs in a fiber (a greenlet): it can be paused in the middle and go on later, in the same thread. What it calls
waits on a `signal`, which is a lock in a thread and a pause in a fiber.
"""

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Protocol

from greenlet import getcurrent, greenlet


class Fiber(greenlet):
    """Runs a function, which must not raise, in the thread of an event loop, then calls `then` with its result."""

    def __init__(self, function: Callable[[], Any], then: Callable[[Any], None], loop: AbstractEventLoop) -> None:
        super().__init__(function)
        self.loop = loop
        self._then = then

    def go_on(self) -> None:
        """Run until the next pause or the end; called by the event loop, never inside a fiber."""
        result = self.switch()
        if self.dead:
            self._then(result)

    def pause(self) -> None:
        """Let the event loop go on until it calls `go_on`; called inside the fiber."""
        assert self.parent is not None
        self.parent.switch()


def current() -> Fiber | None:
    """The fiber that this is called in; None in a thread."""
    running = getcurrent()
    return running if isinstance(running, Fiber) else None


class Signal(Protocol):
    """Something to wait for, once: `release` may be called by any thread, before or after the wait begins."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait until it is released, with a timeout (seconds) at most so long; whether it was."""

    def release(self) -> None: ...


def signal(fiber: Fiber | None) -> Signal:
    """A signal to wait for in a fiber, or in a thread."""
    if fiber is not None:
        return _FiberSignal(fiber)
    lock = threading.Lock()
    lock.acquire()
    return lock


class _FiberSignal:
    def __init__(self, fiber: Fiber) -> None:
        self._fiber = fiber
        self._released = False
        self._waiting = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        timer = self._fiber.loop.call_later(timeout, self._end_wait) if timeout >= 0 else None
        self._waiting = not self._released
        if self._waiting:
            self._fiber.pause()
        if timer is not None:
            timer.cancel()
        return self._released

    def release(self) -> None:
        self._fiber.loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        self._released = True
        self._end_wait()

    def _end_wait(self) -> None:
        if self._waiting:
            self._waiting = False
            self._fiber.go_on()
