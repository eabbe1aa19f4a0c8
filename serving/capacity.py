"""How many workers, request threads and TensorFlow threads fit a machine.

Small models want a worker a core, each with one TensorFlow thread, so that they do not fight; every worker holds its
own copy of the models, so memory may allow fewer; a GPU wants one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

MEBI = 1024 * 1024
WORKER_BYTES = 600 * MEBI
"""A worker with TensorFlow imported and room for requests, before any model."""
MODEL_FACTOR = 3
"""Memory of a loaded model by its size on disk: the variables, the graph, and a second version during an update."""
THREADS = 8
"""Request threads of a worker: enough to read from slow callers while others are computed."""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Machine:
    """What there is to use; memory in bytes."""

    cores: int
    memory: int
    gpus: int = 0


@dataclass(frozen=True)
class Plan:
    """Worker processes, and request threads of each."""

    workers: int
    threads: int


def plan(machine: Machine, model_bytes: int, workers: int = 0, threads: int = 0) -> Plan:
    """Fit a server whose models take `model_bytes` on disk to a machine; 0 workers or threads leaves them to choose."""
    by_memory = machine.memory // (WORKER_BYTES + MODEL_FACTOR * model_bytes)
    workers = workers or machine.gpus or max(1, min(machine.cores, by_memory))
    return Plan(workers, threads or THREADS)


def tensorflow_threads(machine: Machine, workers: int) -> int:
    """The threads that TensorFlow computes with in each of so many workers."""
    return max(1, machine.cores // max(1, workers))


def this_machine(gpus: int = 0) -> Machine:
    """The cores and the memory that this process may use."""
    return Machine(len(os.sched_getaffinity(0)), min(_physical_memory(), _cgroup_memory()), gpus)


def directory_bytes(directory: Path) -> int:
    """The size of all files below a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_memory() -> int:
    """The memory limit of the container, or one that never counts."""
    for file in _CGROUP_LIMITS:
        try:
            return int(file.read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return 1 << 62
