"""Runs that their caller waits for only so long.

TensorFlow stops a run only after the time that was set when its callable was made. Where a caller has less time, the
run goes on without it, in a thread of its own, until it ends or is stopped.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from serving.errors import DeadlineExceeded, Unavailable
from serving.models.servable import TIMED_OUT
from serving.tensors.spec import Array

MAX_RUNS = 64
"""Runs at a time, those included that nobody waits for any more."""

Outputs = dict[str, Array]


class Patience:
    """Waits for runs. May be used by several threads at once."""

    def __init__(self, max_runs: int = MAX_RUNS) -> None:
        self._places = threading.BoundedSemaphore(max_runs)

    def run(
        self, call: Callable[[], Outputs], seconds: float, hold: Callable[[], AbstractContextManager[object]]
    ) -> Outputs:
        """What `call` returns or raises; DeadlineExceeded when that takes longer than `seconds`.

        What `hold` gives, in the caller's thread, is held until the call has ended.
        """
        if not self._places.acquire(blocking=False):
            raise Unavailable("Too many requests with a time-out of their own are being run; try again later")
        held = hold()
        result: dict[str, Any] = {}
        done = threading.Event()

        def run() -> None:
            try:
                with held:
                    result["outputs"] = call()
            except BaseException as error:
                result["error"] = error
            finally:
                self._places.release()
                done.set()

        threading.Thread(target=run, name="patience", daemon=True).start()
        if not done.wait(seconds):
            raise DeadlineExceeded(timed_out(seconds))
        if "error" in result:
            raise result["error"]
        outputs: Outputs = result["outputs"]
        return outputs


def timed_out(seconds: float) -> str:
    return f"{TIMED_OUT}: the model took longer than the {seconds:g} seconds that the request allows"
