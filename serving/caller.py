"""Who waits for an answer: until when, and whether they still do.

A request and its caller travel together from the connection to the model, so that nobody computes what nobody awaits.
"""

import math
import re
import time
from dataclasses import dataclass, field
from threading import Lock

from serving.errors import Cancelled, DeadlineExceeded, ServingError

CALLER = "serving.caller"
"""Where in the WSGI environ of a request its caller is found, under a worker that says so."""

TIMED_OUT = "Timed out waiting for notification"
"""What TensorFlow Serving says of a request that took too long; its clients match on it."""


MAX_TIMEOUT_MS = 24 * 3600 * 1000
_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)


def timeout_ms(text: str) -> int | None:
    """The milliseconds that a caller asks for as a header says it, from 1 to MAX_TIMEOUT_MS; None for anything else."""
    return int(text) if _DIGITS.fullmatch(text) and 1 <= int(text) <= MAX_TIMEOUT_MS else None


@dataclass(slots=True, eq=False)
class Caller:
    """Whoever sent a request. Times are seconds of the monotonic clock.

    One thread says that the caller is `gone` while others look; nobody ever takes it back.
    """

    arrived: float = 0.0
    deadline: float = math.inf
    gone: bool = False
    body_bytes: int = 0
    """How long the body of the request is."""
    _answer: Lock = field(default_factory=Lock)

    def allow(self, seconds: float) -> None:
        """Have the answer ready so many seconds after the request arrived, or sooner where less is allowed already."""
        self.deadline = min(self.deadline, self.arrived + seconds)

    def claim(self) -> bool:
        """Whether whoever asks, in any thread, is the first to: that one answers the caller and records the answer."""
        return self._answer.acquire(blocking=False)

    @property
    def is_claimed(self) -> bool:
        """Whether somebody has the answer, or is about to."""
        return self._answer.locked()

    def seconds_left(self) -> float:
        """How long the caller will go on waiting; never below 0."""
        return max(0.0, self.deadline - time.monotonic())

    def given_up(self) -> ServingError | None:
        """Why there is no use in computing for this caller; None while there is."""
        if self.gone:
            return Cancelled("The caller hung up before the request was computed")
        if time.monotonic() >= self.deadline:
            return DeadlineExceeded(f"{TIMED_OUT}: the time allowed for the request was over before it was computed")
        return None

    def check(self) -> None:
        """Raise why there is no use in computing for this caller, if there is none."""
        error = self.given_up()
        if error is not None:
            raise error


PATIENT = Caller()
"""Somebody who waits for ever, such as the warm-up of a model."""
