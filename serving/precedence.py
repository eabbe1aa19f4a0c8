"""The event loop first: threads that read large tensors of numbers let it go before them, piece after piece.

The interpreter runs one thread at a time. Who wants it waits for a while before it asks whoever has it, and an event
loop wants it several times a request. So while requests come that ask for other work, a thread that reads a large body
rests for a moment after each piece, in which the event loop can take the interpreter, and then leaves it to the loop
for some turns, in which that answers.
"""

import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable

from serving.beat import beat
from serving.fibers import current

PAUSE_SECONDS = 0.00005
"""What a thread asks for when it rests; of Linux it gets about twice as much."""
MOST_SECONDS = 0.005
"""The longest that a thread waits for the event loop to have answered."""
TURNS = 4
"""The turns of an event loop in which it reads a request, runs a quick model and writes the answer."""


class Precedence:
    """That of the event loop of a process, which may `claim`, over its threads, which `give_way`."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        """`is_wanted` says whether requests come that ask for other work than threads are at."""
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._is_claimed = False

    def claim(self, loop: AbstractEventLoop) -> None:
        """Go first for some turns of the event loop, where others may be in the way; called by its thread.

        Nothing changes while a thread that has just waited has yet to go on.
        """
        if not self._is_claimed and self._is_wanted() and self._lock.acquire(blocking=False):
            self._is_claimed = True
            loop.call_soon(self._end_turn, loop, TURNS)

    def _end_turn(self, loop: AbstractEventLoop, turns: int) -> None:
        if turns > 1:
            loop.call_soon(self._end_turn, loop, turns - 1)
        else:
            self._is_claimed = False
            self._lock.release()

    def give_way(self) -> None:
        """Let the event loop go first, if it may want to; between two pieces of work, also in a fiber of the loop's."""
        if self._is_wanted() and current() is None:
            time.sleep(PAUSE_SECONDS)
            if self._lock.acquire(timeout=MOST_SECONDS):
                self._lock.release()


precedence = Precedence(lambda: beat.is_wanted)
"""That of this process."""
