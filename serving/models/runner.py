"""A thread for what must not be done in the event loop."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from serving.beat import Work, beat


class Runner:
    """Calls what it is given, one call after another, in a thread that begins with the first; calls must not raise."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._beginning = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], None]) -> None:
        """Have something called when all that was given before it is over."""
        self._calls.put(call)
        if self._thread is None:
            with self._beginning:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=f"model {self._model}", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """End the thread after what it was given; twice is safe."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            with beat.during(Work(self._model, in_loop=True)):
                call()
            del call  # which holds requests, and the next one may be long in coming
