"""Fibers: requests that are answered in the event loop and let it go on while they wait.

A request that waits in a thread holds up that thread only; in an event loop it would hold up everybody. So there each
request runs in a fiber (a greenlet): it can be paused in the middle and go on later, in the same thread. What it calls
waits on a `signal`, which is a lock in a thread and a pause in a fiber.
"""

import contextlib
import threading
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from greenlet import getcurrent, greenlet

MOST_FREE = 64
"""Fibers that are kept for later requests, each with a stack of 16 KiB: to make one takes two system calls."""


_NOTHING: tuple[Callable[[], Any], Callable[[Any], None]] = (lambda: None, lambda _: None)


class Fibers:
    """Runs functions in fibers of an event loop; used by its thread only, outside of fibers."""

    def __init__(self, loop: AbstractEventLoop, is_alone: Callable[[], bool] = lambda: False) -> None:
        """`is_alone` says whether no other function can be given to run before one has ended."""
        self._loop = loop
        self._is_alone = is_alone
        self._free: list[Fiber] = []

    def run(self, function: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a function, which must not raise, up to its first pause; when it ends, `then` gets its result."""
        fiber = self._free.pop() if self._free else Fiber(self._loop, self._free, self._is_alone)
        fiber.begin(function, then)


class Fiber(greenlet):
    """Runs one function after the other in the thread of an event loop; is in `free` between them."""

    def __init__(self, loop: AbstractEventLoop, free: "list[Fiber]", is_alone: Callable[[], bool]) -> None:
        super().__init__()
        self._loop = loop
        self.is_alone = is_alone
        """Whether no other function can be given to run before this one has ended."""
        self._thread = threading.get_ident()
        self._free = free
        self._function, self._then = _NOTHING
        self._result: Any = None
        self._ended = False

    def run(self) -> None:
        """What the greenlet does."""
        while True:
            self._result = self._function()
            self._ended = True
            if len(self._free) == MOST_FREE:
                return
            self._free.append(self)
            self.pause()

    def begin(self, function: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a function as `Fibers.run` says."""
        self._function, self._then, self._ended = function, then, False
        self.go_on()

    def go_on(self) -> None:
        """Run until the next pause or the end; called by the event loop, never inside a fiber."""
        self.switch()
        if self._ended:
            then, result = self._then, self._result
            (self._function, self._then), self._result = _NOTHING, None  # nothing of a request outlives it
            then(result)

    def pause(self) -> None:
        """Let the event loop go on until it calls `go_on`; called inside the fiber."""
        assert self.parent is not None
        self.parent.switch()

    @property
    def is_here(self) -> bool:
        """Whether this is called in the thread of the fiber's event loop."""
        return threading.get_ident() == self._thread

    def soon(self, call: Callable[..., None], *values: Any) -> None:
        """Have the event loop call something; for any thread. RuntimeError when the loop has ended."""
        in_loop = self._loop.call_soon if self.is_here else self._loop.call_soon_threadsafe
        in_loop(call, *values, context=Context())  # not a copy of the fiber's, which holds a request

    def later(self, seconds: float, call: Callable[[], None]) -> TimerHandle:
        """Have the event loop call something after a while, unless it is cancelled."""
        return self._loop.call_later(seconds, call, context=Context())


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
        if self._released:
            return True
        timer = self._fiber.later(timeout, self._end_wait) if timeout >= 0 else None
        self._waiting = True
        self._fiber.pause()
        if timer is not None:
            timer.cancel()
        return self._released

    def release(self) -> None:
        if self._fiber.is_here and current() is None:
            self._set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended without waiting for this
                self._fiber.soon(self._set)

    def _set(self) -> None:
        self._released = True
        self._end_wait()

    def _end_wait(self) -> None:
        if self._waiting:
            self._waiting = False
            self._fiber.go_on()
