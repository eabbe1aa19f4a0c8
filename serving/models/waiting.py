"""Requests that wait for their turn at a model, in the order of their arrival.

Not for several threads at once: the batcher's lock guards it.
"""

from collections import deque
from dataclasses import dataclass, field

from serving.caller import Caller
from serving.errors import ServingError, Unavailable
from serving.fibers import Fiber, Signal, signal
from serving.models.limits import BatchLimits
from serving.models.rows import Key, Tensors
from serving.tensors.spec import Array

QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full"
"""What TensorFlow Serving says; its clients match on it."""


@dataclass(eq=False)
class Task:
    """A request on its way through a batcher.

    `signal` is released once, when it is done or `leads`, unless it leads at once.
    """

    key: Key
    signature: str
    inputs: Tensors
    rows: int
    """As they count for its limits; one that runs alone counts as one."""
    caller: Caller
    limits: BatchLimits
    arrived: float
    fiber: Fiber | None = None
    """The fiber that waits for the outputs, if it is not a thread that does."""
    signal: Signal = field(init=False)
    leads: bool = False
    outputs: dict[str, Array] | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.signal = signal(self.fiber)

    def drop_if_given_up(self) -> bool:
        """End the task with an error if nobody waits for it any more; whether that is so."""
        self.error = self.caller.given_up()
        return self.error is not None

    def result(self) -> dict[str, Array]:
        """The outputs, or the error as it was raised; to be asked for once."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame, which holds the request
        if self.outputs is None:
            raise ServingError("The batch of this request ended without a result")
        return self.outputs


class WaitingTasks:
    """A queue with as many rows of each signature as its limits allow."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    def __len__(self) -> int:
        return len(self._tasks)

    def append(self, task: Task) -> None:
        """Let a task wait; Unavailable when too many rows wait already. An empty queue takes any task."""
        if self._is_too_much(task):
            self._drop_given_up()
            if self._is_too_much(task):
                raise Unavailable(QUEUE_FULL)
        self._tasks.append(task)

    def remove(self, task: Task) -> None:
        """Let a task wait no more, if it does."""
        if task in self._tasks:
            self._tasks.remove(task)

    def pop(self) -> Task | None:
        """Take the task that has waited longest; None when none waits."""
        return self._tasks.popleft() if self._tasks else None

    def rows_beside(self, leader: Task) -> int:
        """How many rows wait that may run together with a task."""
        return sum(task.rows for task in self._tasks if task.key == leader.key)

    def take_beside(self, leader: Task) -> list[Task]:
        """Take the tasks that fit into a batch with another one, in their order."""
        taken, rows = [], leader.rows
        for task in list(self._tasks):
            if task.key == leader.key and rows + task.rows <= leader.limits.max_rows:
                self._tasks.remove(task)
                taken.append(task)
                rows += task.rows
        return taken

    def _is_too_much(self, task: Task) -> bool:
        rows = sum(
            other.rows for other in self._tasks if other.limits is task.limits and other.signature == task.signature
        )
        return rows > 0 and rows + task.rows > task.limits.max_waiting_rows

    def _drop_given_up(self) -> None:
        for task in list(self._tasks):
            if task.drop_if_given_up():
                self._tasks.remove(task)
                task.signal.release()
