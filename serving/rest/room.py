"""Memory for the requests that are read, so that no number and no form of them takes more than the worker has.

Three shares, always asked for in this order: bodies are counted where they arrive (serving/request.py), then their
text and the tensors in it until the answer is made, then the objects that a text is parsed into until the tensors are
read, and the answer while it is written and until it is sent. A request waits for a share only while it has nothing
of it, so that nobody waits for who waits for him: what turns out to be needed beyond that is there or the request is
refused, or it is given back and taken anew as a whole. Reading and writing hold the interpreter, so waiting for
memory costs no time.
"""

import weakref
from collections.abc import Callable, Mapping
from traceback import clear_frames

import numpy as np

from serving.errors import PayloadTooLarge, ServingError, Unavailable
from serving.fibers import current
from serving.memory import Memory
from serving.request_body import LARGE_BYTES
from serving.rest.application import Answer
from serving.rest.body import read_buffer
from serving.rest.trace import environ_in_hand, trace
from serving.settings import Settings, environ_name
from serving.tensors.cost import FEW_BYTES, answer_bytes, objects_bytes
from serving.tensors.spec import Array, memory_bytes

Tensors = Mapping[str, Array]

UNCOUNTED_TEXT_BYTES = FEW_BYTES
"""Smaller texts are not counted."""


class Room:
    """The room that the requests of a worker share for being read. May be used by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._texts = Memory(settings.texts_bytes)
        self._objects = Memory(settings.objects_bytes)

    def read_body(self) -> memoryview:
        """The body of the request in hand, as `read_buffer`; Unavailable where there is no memory for it now.

        One that came compressed is counted as what it has become, any other not again.
        """
        settings = self._settings
        most = min(settings.max_decompressed_bytes, self._texts.limit)
        body = read_buffer(environ_in_hand(), settings.max_body_bytes, most, self._for_text)
        self._keep(len(body))
        return body

    def read_text(self) -> bytes | memoryview:
        """The same, as bytes of its own where those cost little.

        It is counted unless it is small, since reading makes copies: beside itself where it came compressed, when there
        is no waiting any more.
        """
        body = self.read_body()
        if trace().room_bytes:
            self._count(len(body))
        else:
            self._for_text(len(body))
        return bytes(body) if len(body) < LARGE_BYTES else body

    def reading(self) -> "Objects":
        """What to read the tensors of the request in hand in, as a context that gives back what was taken."""
        return Objects(self._objects, self._settings.memory_wait_seconds)

    def note_tensors(self, body: memoryview | bytes, tensors: Tensors) -> None:
        """Count the tensors that the body of the request in hand has brought, until it is answered."""
        if len(body) > UNCOUNTED_TEXT_BYTES:
            self._count(sum(map(memory_bytes, tensors.values())))

    def write(
        self, outputs: Tensors, write: Callable[[], Answer], cost: Callable[[Tensors], int] = answer_bytes
    ) -> Answer:
        """The answer that `write` makes of these tensors, as soon as there is memory for it.

        `cost` is what that is at most. What the answer is as text stays counted until it has been sent. One that takes
        more than there ever is waits for seven eighths of that; the rest is for others that are being sent. In the
        event loop nothing waits: a model that gives large answers there soon gives none there.
        """
        size = cost(outputs) if current() is None else 0
        if size <= UNCOUNTED_TEXT_BYTES:
            return write()
        with self.reading() as objects:
            objects.need(min(size, self._objects.limit * 7 // 8))
            answer = write()
            objects.keep(answer)
        return answer

    def leave(self) -> None:
        """Give back what the request in hand has taken until its answer was made."""
        self._keep(0)

    def _for_text(self, size: int) -> None:
        """Take what a text of this size has not taken yet, unless it is small; wait only where it has taken nothing."""
        notes = trace()
        if size > max(notes.room_bytes, UNCOUNTED_TEXT_BYTES):
            wait = 0.0 if notes.room_bytes else self._settings.memory_wait_seconds
            _take(self._texts, size - notes.room_bytes, wait)
            notes.room_bytes = size

    def _count(self, size: int) -> None:
        self._texts.count(size)
        trace().room_bytes += size

    def _keep(self, size: int) -> None:
        """Give back all that the request in hand has taken but so many bytes."""
        notes = trace()
        if notes.room_bytes > size:
            self._texts.give_back(notes.room_bytes - size)
            notes.room_bytes = size


class Objects:
    """The memory for the objects that a request becomes while it is read; used by one thread."""

    __slots__ = ("_memory", "_taken", "_wait_seconds")

    def __init__(self, memory: Memory, wait_seconds: float) -> None:
        self._memory = memory
        self._wait_seconds = wait_seconds
        self._taken = 0

    def make_room(self, text: memoryview | bytes, more: int = 0) -> None:
        """Take what the objects of a text may need, and more; PayloadTooLarge or Unavailable where there is less."""
        self.need((objects_bytes(memoryview(text)) if len(text) > UNCOUNTED_TEXT_BYTES else 0) + more)

    def need(self, size: int) -> None:
        """Have so many bytes in all, unless they are few; PayloadTooLarge or Unavailable where there are fewer."""
        if size > max(self._taken, UNCOUNTED_TEXT_BYTES):
            self.give_back()  # or requests that have some would wait for each other to get more
            _take(self._memory, size, self._wait_seconds)
            self._taken = size

    def need_more(self, size: int) -> None:
        """Have so many bytes beside those there are, likewise."""
        self.need(self._taken + size)

    def keep(self, answer: Answer) -> None:
        """Leave as much of what was taken with an answer as it takes, until it is gone; give back the rest."""
        answer.body, answer.tail = b"", [self._kept(piece) for piece in (answer.body, *answer.tail)]

    def _kept(self, piece: bytes | memoryview) -> bytes | memoryview:
        """A piece of memory that gives back what was taken for it when nobody holds it any more."""
        size = min(len(piece), self._taken)
        if size <= UNCOUNTED_TEXT_BYTES:
            return piece
        held = np.frombuffer(piece, np.uint8)
        weakref.finalize(held, self._memory.give_back, size)
        self._taken -= size
        return held.data

    def give_back(self) -> None:
        """Give back what was taken. Twice is safe."""
        if self._taken:
            self._memory.give_back(self._taken)
            self._taken = 0

    def __enter__(self) -> "Objects":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ServingError):
            _forget_locals(error)
        self.give_back()


def _forget_locals(error: BaseException) -> None:
    """Let go of what an error still holds of the request while it is answered: values in frames, and the text."""
    cause: BaseException | None = error
    while cause is not None:
        clear_frames(cause.__traceback__)
        cause = cause.__context__
    error.__context__ = None


def _take(memory: Memory, size: int, seconds: float) -> None:
    if size > memory.limit:
        raise PayloadTooLarge(
            f"Reading the request may take {size >> 20} MiB, more than the {memory.limit >> 20} MiB that all requests "
            f"share; send fewer values at once or raise {environ_name('request_memory_bytes')}"
        )
    wait = min(seconds, trace().caller.seconds_left()) if current() is None else 0.0  # in the event loop nothing waits
    if not memory.take(size, wait):
        raise Unavailable("The requests in hand take all the memory that there is for them; try again later")
