"""Threads for requests, shared out so that those to one model leave some to the others.

Each model has a lane. What arrives in it is called by the threads in the order of its arrival, but by no more of them
than the lane's share at a time, and only so much may wait. Lanes take turns: a call of a lane that had nothing to do
waits for one call of each other lane at most, however many wait there.

Of the threads that are idle, the one that was busy last is given the next call: it has memory for it, which it keeps
from one call to the next, and the rest need not grow as large.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

from serving.beat import Work, beat

log = logging.getLogger(__name__)

Call = Callable[[], None]
_Job = tuple["_Lane", Call]


@dataclass(eq=False)
class _Lane:
    """`held` is how many threads it has, or is about to have; what waits does so for one of these."""

    name: str
    held: int = 0
    waiting: deque[Call] = field(default_factory=deque)


class Lanes:
    """Threads that call what they are given. Unlike those of an executor, none is waited for when the process ends."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        """`max_waiting` is how many calls of one lane may wait."""
        self._share = max(1, threads // 2)
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._ready = deque[_Job]()
        self._idle: list[SimpleQueue[_Job]] = []
        """Where each thread that has nothing to do gets what it shall do, the one that was busy last at the end."""
        for number in range(threads):
            threading.Thread(target=self._run, name=f"request_{number}", daemon=True).start()

    def submit(self, name: str, call: Call) -> bool:
        """Have something called as soon as it can be; False, and never, when too many calls of its lane wait."""
        with self._lock:
            lane = self._lanes.setdefault(name, _Lane(name))
            if lane.held < self._share:
                lane.held += 1
                self._give((lane, call))
            elif len(lane.waiting) < self._max_waiting:
                lane.waiting.append(call)
            else:
                return False
        return True

    def _give(self, job: _Job) -> None:
        """Have a thread do something as soon as one can; with the lock held."""
        if self._idle:
            self._idle.pop().put(job)
        else:
            self._ready.append(job)

    def _run(self) -> None:
        given: SimpleQueue[_Job] = SimpleQueue()
        while True:
            self._do(*self._next(given))

    def _do(self, lane: _Lane, call: Call) -> None:
        """Call something. Nothing of it is held any more when that is over, also by a thread that stays idle."""
        try:
            with beat.during(Work(lane.name, in_loop=False)):
                call()
        except BaseException:  # a thread that ended would be missed, and so would its share of the lane
            log.exception("a request failed in a way that was not foreseen")
        finally:
            self._go_on(lane)

    def _next(self, given: SimpleQueue[_Job]) -> _Job:
        """What to do next, for a thread that gets it `given` when there is nothing yet."""
        with self._lock:
            if self._ready:
                return self._ready.popleft()
            self._idle.append(given)
        return given.get()

    def _go_on(self, lane: _Lane) -> None:
        """Queue up again for the next call of a lane, behind what the others have to do."""
        with self._lock:
            if lane.waiting:
                self._ready.append((lane, lane.waiting.popleft()))
                return
            lane.held -= 1
            if not lane.held:
                del self._lanes[lane.name]
