"""A beat, while threads work, at which the kernel chooses anew which thread has the processor.

The event loop wakes often and does little, and yet Linux (6.6 and later) may let a thread that computes go on when it
does: one that has just had more than its share has to wait, and is looked at again only when the clock ticks, on many
systems every 4 ms. The kernel also chooses when any thread goes to sleep. So one does, again and again, on one core or
another.
"""

import ctypes
import logging
import os
import platform
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

log = logging.getLogger(__name__)


class Work(NamedTuple):
    """What a request asks for: its lane, and whether the event loop answers it itself."""

    lane: str
    in_loop: bool


PERIOD_SECONDS = 0.001
REST_SECONDS = 0.05
"""How often the thread looks whether requests have come that gain by a beat."""
LAST_SECONDS = 1.0
"""How long after one of those more are expected."""
SLICE_NS = 100_000
"""The turn that the thread asks for, the shortest there is: from Linux 6.12 on who asks for less interrupts others."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The number of the system call, for which C libraries had no function before glibc 2.41."""


class Beat:
    """Beats while threads are at work, computing or waiting, and requests come that ask for other work.

    Several threads may use it at once. A beat costs what computes a tenth, so there is none where hardly anybody gains:
    more requests for the work that is being done have to wait for it anyway.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work = Counter[Work]()
        self._busy = threading.Event()
        self._started = False
        self._until = 0.0

    @contextmanager
    def during(self, work: Work) -> Iterator[None]:
        """Be at work within this."""
        with self._lock:
            self._at_work[work] += 1
            self._busy.set()
            if not self._started:  # not before: threads do not survive the fork of a worker
                self._started = True
                self._start()
        try:
            yield
        finally:
            with self._lock:
                self._at_work[work] -= 1
                if not self._at_work[work]:
                    del self._at_work[work]
                if not self._at_work:
                    self._busy.clear()

    @property
    def is_at_work(self) -> bool:
        """Whether any thread is at work."""
        return bool(self._at_work)

    @property
    def is_wanted(self) -> bool:
        """Whether requests come, or have come a moment ago, that ask for other work than threads are at."""
        return time.monotonic() < self._until

    def note(self, work: Work) -> None:
        """Note that a request has come; for the event loop's thread."""
        if len(self._at_work) > (work in self._at_work):
            self._until = time.monotonic() + LAST_SECONDS

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name="beat", daemon=True).start()
        except RuntimeError as error:  # requests are answered all the same
            log.warning("models that compute will hold up other requests for longer: %s", error)

    def _run(self) -> None:
        _ask_for_short_turns()
        while True:
            self._busy.wait()
            time.sleep(PERIOD_SECONDS if self.is_wanted else REST_SECONDS)


beat = Beat()
"""That of this process."""


def _ask_for_short_turns() -> None:
    """Have the kernel give this thread short turns; where it does not, others may keep this one waiting as well."""
    call = _SCHED_SETATTR.get(platform.machine())
    if call and os.sched_getscheduler(0) == os.SCHED_OTHER:
        nice = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread
        size, policy, flags, priority, deadline, period = 48, os.SCHED_OTHER, 0, 0, 0, 0
        attributes = struct.pack("IIQiIQQQ", size, policy, flags, nice, priority, SLICE_NS, deadline, period)
        ctypes.CDLL(None).syscall(call, 0, attributes, 0)
