"""The deadlines of requests that threads answer: whose time is over is answered here, whatever the thread still does.

Of the event loop and the thread the one that claims the caller first answers it, and records the answer.
"""

import time
from collections.abc import Callable

from serving.caller import Caller
from serving.connection import Connection
from serving.request import Request

LATE_SECONDS = 0.01
"""How long after its deadline a request is answered here, where the application has not done so."""
LOOK_SECONDS = 0.02
"""How often requests in hand are looked at for that."""


class Deadlines:
    """Requests in hand. Used by the event loop's thread only."""

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object],
        answer: Callable[[Request, Connection], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`later` has something called after so many seconds; `answer` answers a request whose time is over."""
        self._later = later
        self._answer = answer
        self._clock = clock
        self._in_hand: dict[Caller, tuple[Request, Connection]] = {}
        self._looks = False

    def watch(self, request: Request, connection: Connection) -> None:
        """Have a request answered when its time is over, unless its thread comes first."""
        self._in_hand[request.caller] = request, connection
        if not self._looks:
            self._looks = True
            self._later(LOOK_SECONDS, self._look)

    def is_in_time(self, request: Request) -> bool:
        """Whether what a thread has made for a request is to be sent; it is watched no longer."""
        return self._in_hand.pop(request.caller, None) is not None

    def _look(self) -> None:
        """Answer those whose time is over; look again while there are others, also after a failure."""
        time_over = self._clock() - LATE_SECONDS
        try:
            for caller in [caller for caller in self._in_hand if caller.deadline < time_over]:
                if caller.claim():  # else the application has answered, and that is about to be sent
                    self._answer(*self._in_hand.pop(caller))
        finally:
            self._looks = bool(self._in_hand)
            if self._looks:
                self._later(LOOK_SECONDS, self._look)
