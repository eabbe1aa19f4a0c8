"""TensorFlow itself: imported without noise, given its device and its threads.

Importing this module imports TensorFlow (seconds) but starts nothing in it, so that the parent of forked workers may do
it; every function that does start something is for the workers, after the fork.
"""

import logging
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Device", "choose_device", "list_gpus", "session_config", "start_threads", "tf"]

NICENESS = 5
"""How far the threads that TensorFlow computes in stand back behind others of the server (a third of their weight)."""

log = logging.getLogger(__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what C++ code writes to standard error; show it only when the block fails.

    TensorFlow logs about oneDNN and missing CUDA drivers before its log level takes effect.
    """
    if sys.stderr is None:  # closed by whoever started the process
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if platform.machine() == "x86_64":
    # oneDNN's kernels are the faster ones also on processors for which TensorFlow leaves them off.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
with _quiet():
    import tensorflow as tf
tf.get_logger().setLevel(logging.ERROR)


@dataclass(frozen=True)
class Device:
    """Where the models of one process run: a GPU by its number, or the CPU when `gpu` is None."""

    gpu: int | None
    description: str


def choose_device(gpus: Sequence[str], worker_index: int) -> Device:
    """The device of a worker: the workers take turns through the GPUs; without one it is the CPU."""
    if not gpus:
        return Device(None, "CPU")
    number = worker_index % len(gpus)
    return Device(number, f"GPU {number} of {len(gpus)} ({gpus[number]})")


def list_gpus() -> list[str]:
    """The names of the GPUs that TensorFlow can use. Starts CUDA: not before a fork."""
    with _quiet():
        gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


def session_config(device: Device, threads: int) -> Any:
    """The ConfigProto of every session of this process, with `threads` to compute in.

    GPU memory is taken as it is needed, not all at once. There are always two threads to schedule operations: with one,
    a call of a small model takes five times as long. A copy of the graph that only debuggers read is not kept: it
    doubles the memory of a model whose weights are constants.
    """
    config = tf.compat.v1.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=max(2, threads),
    )
    config.experimental.disable_output_partition_graphs = True
    if device.gpu is None:
        config.device_count["GPU"] = 0
    else:
        config.gpu_options.allow_growth = True
        config.gpu_options.visible_device_list = str(device.gpu)
    return config


def start_threads(config: Any) -> None:
    """Start the threads that the sessions of this process share, at a lower priority than the one that calls this.

    On Linux the priority is a thread's own, and those that it starts inherit it; TensorFlow starts them with the first
    session.
    """

    def start() -> None:
        try:
            os.nice(NICENESS)
        except OSError as error:  # the host forbids it
            log.warning("TensorFlow's threads keep the priority of the others: %s", error)
        tf.compat.v1.Session(graph=tf.Graph(), config=config).close()

    starter = threading.Thread(target=start, name="tensorflow-starter")
    starter.start()
    starter.join()
