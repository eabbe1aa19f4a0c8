"""The model called in a loop by one process, with nothing around it: the limit, and the reference answers.

A child process that obeys pickled commands on its standard input, one answer on its standard output for each:

    ("run", model, inputs, batch, seconds)  ->  (rows run, seconds taken, CPU seconds used)
    ("answer", model, inputs)               ->  the output, an array

The model runs as the server's do, through a session's callable and with oneDNN's kernels, but with its variables,
as fast for batches of small models; one TensorFlow thread, since there is such a process for each core.
"""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.models import Array, Inputs
from bench.places import MODELS, ROOT

CORES = len(os.sched_getaffinity(0))
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
MAX_CALL_SECONDS = 0.5
"""Batches that take longer are no way to serve."""


class Loops:
    """As many looping processes as there are cores."""

    def __init__(self, count: int = CORES) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.loop"],
                cwd=ROOT,
                env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(count)
        ]
        self._best: dict[str, int] = {}

    def answer(self, model: str, inputs: Inputs) -> Array:
        """What the model answers."""
        array: Array = self._ask(("answer", model, inputs), self._processes[:1])[0]
        return array

    def rows_per_second(self, model: str, inputs: Inputs, seconds: float) -> tuple[float, float]:
        """Rows a second of all processes together at the best batch size, and CPU seconds a row."""
        if model not in self._best:
            self._best[model] = self._find_best(model, inputs, min(0.3, seconds / 4))
        return self._run(model, inputs, self._best[model], seconds)

    def best_batch(self, model: str) -> int:
        """The batch size found best for a model that was run."""
        return self._best[model]

    def _find_best(self, model: str, inputs: Inputs, seconds: float) -> int:
        """The batch size that takes the least CPU time a row, which is disturbed less by what else runs than speed."""
        cost: dict[int, float] = {}
        for batch in BATCHES:
            rows_per_second, cost[batch] = self._run(model, inputs, batch, seconds)
            if batch * len(self._processes) > rows_per_second * MAX_CALL_SECONDS:
                break
        return min(cost, key=lambda batch: cost[batch])

    def _run(self, model: str, inputs: Inputs, batch: int, seconds: float) -> tuple[float, float]:
        answers = self._ask(("run", model, inputs, batch, seconds), self._processes)
        cpu = sum(cpu for _, _, cpu in answers) / sum(rows for rows, _, _ in answers)
        return sum(rows / taken for rows, taken, _ in answers), cpu

    @staticmethod
    def _ask(command: Any, processes: "list[subprocess.Popen[bytes]]") -> list[Any]:
        for process in processes:
            assert process.stdin is not None
            pickle.dump(command, process.stdin)
            process.stdin.flush()
        return [pickle.load(process.stdout) for process in processes if process.stdout is not None]

    def close(self) -> None:
        """End the processes. Twice is safe."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(timeout=30)


def load(path: Path) -> tuple[Callable[..., list[Any]], list[str]]:
    """A SavedModel's default signature as a function of its inputs in order, and their names."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2

    v1 = tf.compat.v1
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
    graph = tf.Graph()
    session = v1.Session(graph=graph, config=config)
    with graph.as_default():
        signature = v1.saved_model.load(session, ["serve"], str(path)).signature_def["serving_default"]
    names = sorted(signature.inputs)
    options = config_pb2.CallableOptions(
        feed=[signature.inputs[name].name for name in names],
        fetch=[info.name for info in signature.outputs.values()],
    )
    return session._make_callable_from_options(options), names


def _run(call: Callable[..., list[Any]], rows: list[Array], batch: int, seconds: float) -> tuple[int, float, float]:
    values = [array.repeat(batch, axis=0)[:batch] for array in rows]
    call(*values)
    done, cpu, started = 0, time.process_time(), time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        call(*values)
        done += batch
    return done, now - started, time.process_time() - cpu


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    loaded: dict[str, tuple[Callable[..., list[Any]], list[str]]] = {}
    while True:
        try:
            verb, model, inputs, *how = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        call, names = loaded.get(model) or loaded.setdefault(model, load(MODELS / model / "1"))
        arrays = [inputs[name] for name in names]
        pickle.dump(_run(call, arrays, *how) if verb == "run" else call(*arrays)[0], answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
