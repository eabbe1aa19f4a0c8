"""Requests that meet at a model run together.

A batcher wraps a loaded model and has the same `run`. Nothing waits that need not: a request that finds the model idle
runs at once, in its own thread; those that arrive meanwhile wait, and when the model falls idle one of them leads: it
runs as many of them together as fit. Only requests to the same signature, with the same shapes behind dimension 0, are
joined, and only for signatures of which a trial has shown that rows together give what they give alone (trial.py).

When a joint run fails, its requests run one by one, so that each fails or succeeds by itself. A request whose caller
has given up is not run at all.

How rows are joined and parted is in rows.py, who waits in waiting.py, how many may in limits.py, which of several
models runs in processors.py.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter
from typing import Any

from serving import metrics
from serving.caller import PATIENT, TIMED_OUT, Caller
from serving.errors import DeadlineExceeded
from serving.fibers import Fiber, current
from serving.models.about import NOTHING_KNOWN, About
from serving.models.file_ops import INIT_SIGNATURE
from serving.models.lifecycle import Runnable
from serving.models.limits import BatchLimits, Plan
from serving.models.processors import LastRun, Processors
from serving.models.rows import Tensors, batch_key, join, merge, pad, part, row_count, slices
from serving.models.runner import Runner
from serving.models.waiting import Task, WaitingTasks
from serving.tensors.spec import Array, memory_bytes

log = logging.getLogger(__name__)

ANY_NUMBER = 1 << 30
_LONGEST_WAIT = 24 * 3600.0
LONG_SECONDS = 0.01
SUSPECT_SECONDS = 60.0
"""For so long after a run that took longer it is looked at what runs compute. Two that compute longer show that a model
is not quick, whatever its trial has shown. What else a busy machine does does not, nor does what interrupts it once."""
ANSWER_BYTES = 64 * 1024
"""A larger answer takes too long to be written and compressed while others wait."""
_ALONE = BatchLimits(max_rows=1, max_waiting_rows=64)
"""Of requests from event loops that run alone: each counts as one row, whatever it has."""
_AT_ONCE = nullcontext()
FEW_WAITING = 16
"""So few requests to a quick model are computed in a fraction of a second: no timer is needed for each."""
NOT_ROW_BY_ROW = "its answers are not row by row"


class Batcher:
    """Joins the requests to one loaded model. `run` may be called by several threads at once."""

    def __init__(
        self,
        model: Runnable,
        plans: Mapping[str, Plan],
        name: str,
        is_quick: bool = False,
        on_slow: Callable[[], None] = lambda: None,
        computed: Callable[[], float] = time.thread_time,
        clock: Callable[[], float] = time.monotonic,
        about: About = NOTHING_KNOWN,
        runs_at_once: int = ANY_NUMBER,
        processors: Processors | None = None,
    ) -> None:
        """`plans` says how to batch each signature; requests to others run as they are.

        `on_slow` is called when runs show that the model is not quick after all. `computed` is a clock of what the
        thread computes, which takes longer to look at than that on the wall. Of requests that run alone so many do at
        once: as many as there are threads to compute in, for more would only take from others. What is not quick takes
        turns with the other models that share its `processors`.
        """
        self.signatures = model.signatures
        self.metadata = model.metadata
        self.about = about
        self.is_quick = is_quick
        self._model = model
        self._name = name
        self._plans = dict(plans)
        self._on_slow = on_slow
        self._computed = computed
        self._clock = clock
        self._alone = threading.Semaphore(runs_at_once)
        self._processors = processors or Processors(math.inf)
        self._last_run = LastRun()
        self._batch_rows = metrics.BATCH_ROWS.labels(name)
        self._lock = threading.Lock()
        self._arrivals = threading.Condition(self._lock)
        self._tasks = WaitingTasks()
        self._busy = False
        self._too_long = math.inf
        """The bytes of the shortest request in an event loop whose answer was too large for it."""
        self._suspect_until = -math.inf
        self._long_runs = 0
        self._runner = Runner(name)

    def run(self, signature: str, inputs: Tensors, caller: Caller = PATIENT) -> dict[str, Array]:
        """Run a request, together with others where they meet; as `Runnable.run`.

        Raises Cancelled or DeadlineExceeded, without running it, where the caller has given up.
        """
        caller.check()
        fiber = current()
        outputs = self._run_somehow(signature, inputs, caller, fiber)
        if fiber is not None and sum(map(memory_bytes, outputs.values())) > ANSWER_BYTES:
            self._too_long = min(self._too_long, caller.body_bytes)
        return outputs

    def _run_somehow(self, signature: str, inputs: Tensors, caller: Caller, fiber: Fiber | None) -> dict[str, Array]:
        """Run a request with others, in slices, or alone, as its signature and its rows want it."""
        limits = self._limits(signature)
        rows = row_count(inputs) if limits else None
        if limits and rows and (rows < limits.max_rows or (rows == limits.max_rows and fiber is not None)):
            if fiber is not None and self._meets_nobody(fiber) and limits.padded(rows) == rows:
                return self._run_model(signature, inputs, caller)
            key = batch_key(signature, inputs, limits.pad_lengths)
        elif limits and rows and rows > limits.max_rows and limits.splits:
            return self._run_in_slices(signature, inputs, rows, limits, caller)
        elif fiber is None:
            return self._run_alone(signature, inputs, caller)
        elif self.is_quick and (not limits or (rows and rows <= limits.loop_rows)):
            # Not to be asked again whether it is quick: a thread may find meanwhile that it is not.
            return self._run_model(signature, inputs, caller)
        else:  # alone, but elsewhere: the event loop must not wait for it, nor for many rows of a quick model
            key, limits, rows = (object(),), _ALONE, 1
        return self._run_with_others(Task(key, signature, inputs, rows, caller, limits, self._clock(), fiber))

    def answers_in_loop(self, body_bytes: int) -> bool:
        """Whether a request of so many bytes may be answered in an event loop: the model is quick, or it waits there.

        None may that is as long as one whose answer was so large that others had to wait for it: many rows give many.
        """
        if body_bytes >= self._too_long:
            return False
        if self.is_quick:
            return True
        asked_for = [plan for name, plan in self._plans.items() if name != INIT_SIGNATURE]
        return all(plan.limits for plan in asked_for)

    @property
    def waiting(self) -> int:
        """How many requests wait now."""
        return len(self._tasks)

    @property
    def batching(self) -> dict[str, Mapping[str, Any]]:
        """How the requests to each signature are batched, or why they are not."""
        return {
            name: {"batched": True, **plan.limits.as_json()}
            if plan.limits
            else {"batched": False, "reason": plan.reason}
            for name, plan in self._plans.items()
        }

    @property
    def obstacles(self) -> dict[str, str]:
        """What the trial of each signature has shown against joining rows; "" where that is nothing."""
        return {name: plan.obstacle for name, plan in self._plans.items()}

    def close(self) -> None:
        """Close the model."""
        self._runner.close()
        self._model.close()

    def _limits(self, signature: str) -> BatchLimits | None:
        plan = self._plans.get(signature)
        return plan.limits if plan else None

    def _run_model(self, signature: str, inputs: Tensors, caller: Caller) -> dict[str, Array]:
        """Run the model. A quick one stops being that when runs of it compute long."""
        if not self.is_quick:
            return self._model.run(signature, inputs, caller)
        started = self._clock()
        computed = self._computed() if started < self._suspect_until else None
        try:
            return self._model.run(signature, inputs, caller)
        finally:
            if self._clock() - started > LONG_SECONDS:
                self._suspect(computed)

    def _suspect(self, computed: float | None) -> None:
        """Note a long run; `computed` is what the thread had computed before it, where that was looked at."""
        if computed is None:
            self._long_runs = 0
        elif self._computed() - computed > LONG_SECONDS:
            self._long_runs += 1
            if self._long_runs == 2:
                self.is_quick = False
                self._on_slow()
        self._suspect_until = self._clock() + SUSPECT_SECONDS

    def _run_alone(self, signature: str, inputs: Tensors, caller: Caller) -> dict[str, Array]:
        if self.is_quick:
            return self._run_model(signature, inputs, caller)
        if not self._alone.acquire(timeout=min(caller.seconds_left(), _LONGEST_WAIT)):
            raise DeadlineExceeded(TIMED_OUT)
        try:
            with self._in_turn(caller):
                caller.check()
                return self._run_model(signature, inputs, caller)
        finally:
            self._alone.release()

    def _run_in_slices(
        self, signature: str, inputs: Tensors, rows: int, limits: BatchLimits, caller: Caller
    ) -> dict[str, Array]:
        """Run a large request slice after slice; the last one, which is smaller, with others."""
        parts = [self.run(signature, piece, caller) for piece in slices(inputs, rows, limits.max_rows)]
        whole = join(parts, rows)
        if whole is not None:
            return whole
        self._stop_batching(signature)
        return self.run(signature, inputs, caller)

    def _meets_nobody(self, fiber: Fiber) -> bool:
        """Whether nobody that a request could run together with can come before the event loop has run it itself."""
        return self.is_quick and fiber.is_alone()

    # Taking turns.

    def _run_with_others(self, task: Task) -> dict[str, Array]:
        with self._lock:
            is_first, self._busy = not self._busy, True
            if not is_first:
                self._tasks.append(task)
                self._arrivals.notify()
            else:
                self._give_turn(task)
        if not task.leads:
            self._wait(task)
        if task.leads:
            self._lead(task)
        return task.result()

    def _give_turn(self, task: Task) -> None:
        """Let a task lead, with the lock held: in its thread or, for a fiber, in the loop or in another thread."""
        if task.fiber is None:
            task.leads = True
            task.signal.release()
        elif self._is_soon(task):
            task.fiber.soon(self._lead, task, True)
        else:
            self._runner.submit(partial(self._lead, task))

    def _is_soon(self, task: Task) -> bool:
        """Whether the event loop that a task came from runs it itself, too soon for its time to be over meanwhile."""
        return task.fiber is not None and self.is_quick and task.limits is not _ALONE

    def _wait(self, task: Task) -> None:
        """Wait until the task is done or leads; when its time is over, leave it to those that run it, if any do."""
        is_soon = self._is_soon(task) and len(self._tasks) <= FEW_WAITING
        if task.signal.acquire(timeout=-1 if is_soon else min(task.caller.seconds_left(), _LONGEST_WAIT)):
            return
        with self._lock:
            self._tasks.remove(task)
            if not task.leads:
                raise task.caller.given_up() or DeadlineExceeded(TIMED_OUT)

    def _lead(self, leader: Task, in_loop: bool = False) -> None:
        """Run the task and those that can join it, then pass the turn on. The event loop waits for no other model."""
        batch = [leader]
        try:
            with self._lock:
                self._gather(leader)
            with _AT_ONCE if in_loop else self._in_turn(leader.caller):
                with self._lock:
                    batch += self._tasks.take_beside(leader)
                wanted = [task for task in batch if not task.drop_if_given_up()]
                if wanted:
                    self._run_batch(wanted)
        finally:
            with self._lock:
                successor = self._tasks.pop()
                self._busy = successor is not None
                if successor is not None:
                    self._give_turn(successor)
            for task in batch[1:] if leader.leads else batch:
                task.signal.release()

    def _gather(self, leader: Task) -> None:
        """Wait for others if that was asked for; with the lock, which is given up meanwhile."""
        limits = leader.limits
        if limits.delay_seconds:
            left = min(leader.arrived + limits.delay_seconds - self._clock(), leader.caller.seconds_left())
            self._arrivals.wait_for(lambda: leader.rows + self._tasks.rows_beside(leader) >= limits.max_rows, left)

    # Running.

    def _in_turn(self, caller: Caller) -> AbstractContextManager[None]:
        """What to run the model within: one that is not quick waits for others there."""
        return _AT_ONCE if self.is_quick else self._processors.run(self._last_run, caller.seconds_left())

    def _run_batch(self, batch: list[Task]) -> None:
        """Run tasks together, one by one where that fails. Each ends with its outputs or an error."""
        try:
            self._run_together(batch)
        except DeadlineExceeded as error:  # alone they would take as long again, one after the other
            for task in batch:
                task.error = error
        except Exception as error:
            if len(batch) == 1 and not isinstance(error, _NotRowByRow):
                batch[0].error = error
                return
            for task in batch:
                if not task.drop_if_given_up():
                    self._run_batch([task])

    def _run_together(self, batch: list[Task]) -> None:
        """Run tasks as one and give each its outputs."""
        signature, counts = batch[0].signature, [task.rows for task in batch]
        rows = batch[0].limits.padded(sum(counts)) if self._limits(signature) else sum(counts)
        inputs = merge([task.inputs for task in batch])
        caller = max((task.caller for task in batch), key=attrgetter("deadline"))
        if rows == batch[0].rows:
            batch[0].outputs = self._run_model(signature, inputs, caller)
            return
        metrics.note(self._batch_rows, sum(counts))
        parts = part(self._run_model(signature, pad(inputs, rows), caller), counts, rows)
        if parts is None:
            self._stop_batching(signature)
            raise _NotRowByRow
        for task, outputs in zip(batch, parts, strict=True):
            task.outputs = outputs

    def _stop_batching(self, signature: str) -> None:
        self._plans[signature] = Plan(None, NOT_ROW_BY_ROW)
        log.warning("model %s signature %s is no longer batched: %s", self._name, signature, NOT_ROW_BY_ROW)


class _NotRowByRow(Exception):
    """Outputs of a joint run that cannot be parted."""
