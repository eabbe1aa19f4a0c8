"""Turns in the event loop, so that a flood to one model leaves the others their time.

What the loop begins to answer belongs to a lane, which is a model. In a turn of the loop a lane begins as much as takes
a millisecond, or a quarter of that where other lanes are asked for as well or threads compute; the rest waits for the
next turn. While threads compute and want for processors, what waits for a model that the loop runs itself waits
longer, so that it takes about half of a processor.
"""

import resource
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

Begin = Callable[[], None]

LANE_SECONDS, SHARED_LANE_SECONDS = 0.001, 0.00025
"""What a lane may take to begin requests in a turn, when it is the only one and when it is not; to run and to answer
them takes about as long again."""
SHARED_SECONDS = 1.0
"""How long after a request to another lane more of them are expected."""
SCARCE_SECONDS = 1.0
"""How long after this thread had to leave its processor others may want it: when it rests it rarely has to."""
RESTS, MOST_REST_SECONDS = 2.0, 0.01
"""How long lanes rest, for each second that this thread has computed since they last did; and the longest rest."""


def times_preempted() -> int:
    """How often this thread had to leave its processor to another; 0 where the system does not say."""
    who = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if who is None else resource.getrusage(who).ru_nivcsw


class Turns:
    """Begins requests in the turns of an event loop. Used by its thread only."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        is_computing: Callable[[], bool],
        runs_in_loop: Callable[[str], bool],
        most: int,
        clock: Callable[[], float] = time.perf_counter,
        computed: Callable[[], float] = time.thread_time,
        preempted: Callable[[], int] = times_preempted,
    ) -> None:
        """`is_computing` says whether threads are at work, `runs_in_loop` whether the loop itself runs a lane's model.

        `most` is how many requests of a lane may wait, `computed` a clock of what this thread computes.
        """
        self._loop = loop
        self._is_computing = is_computing
        self._runs_in_loop = runs_in_loop
        self._most = most
        self._clock = clock
        self._computed = computed
        self._preempted = preempted
        self._waiting: dict[str, deque[Begin]] = {}
        self._spent: dict[str, float] = {}
        """What each lane has taken in this turn, in seconds."""
        self._ends = False
        self._latest = ""
        self._shared_until = self._scarce_until = 0.0
        self._preempted_before, self._computed_before = preempted(), 0.0
        self._resting: set[str] = set()

    def submit(self, lane: str, begin: Begin) -> bool:
        """Call `begin` now, or when its lane's turn comes; False, and never, when too many of the lane wait."""
        if lane != self._latest:
            self._latest, self._shared_until = lane, self._clock() + SHARED_SECONDS
        waiting = self._waiting.get(lane)
        if waiting is None and self._may_begin(lane):
            self._begin(lane, begin)
        elif waiting is None:
            self._waiting[lane] = deque((begin,))
        elif len(waiting) < self._most:
            waiting.append(begin)
        else:
            return False
        return True

    def _may_begin(self, lane: str) -> bool:
        spent = self._spent.get(lane, 0.0)
        if spent < SHARED_LANE_SECONDS:
            return True
        return spent < LANE_SECONDS and self._clock() >= self._shared_until and not self._is_computing()

    def _begin(self, lane: str, begin: Begin) -> None:
        if not self._ends:
            self._ends = True
            self._loop.call_soon(self._end_turn)
        started = self._clock()
        begin()
        self._spent[lane] = self._spent.get(lane, 0.0) + self._clock() - started

    def _end_turn(self) -> None:
        self._ends = False
        self._spent.clear()
        if not self._resting and self._waiting and self._is_computing():
            self._rest()
        self._begin_waiting()

    def _rest(self) -> None:
        """Let lanes rest whose models the loop runs, where threads that compute lack a processor meanwhile."""
        now, preempted = self._clock(), self._preempted()
        if preempted > self._preempted_before:
            self._preempted_before, self._scarce_until = preempted, now + SCARCE_SECONDS
        if now < self._scarce_until:
            self._resting.update(filter(self._runs_in_loop, self._waiting))
        if self._resting:
            before, self._computed_before = self._computed_before, self._computed()
            self._loop.call_later(min(RESTS * (self._computed_before - before), MOST_REST_SECONDS), self._end_rest)

    def _end_rest(self) -> None:
        self._resting.clear()
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        """Begin what waits, lane after lane, as far as this turn goes."""
        for lane, waiting in list(self._waiting.items()):
            while waiting and lane not in self._resting and self._may_begin(lane):
                self._begin(lane, waiting.popleft())
            if not waiting:
                del self._waiting[lane]
