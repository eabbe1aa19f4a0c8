"""How many workers, request threads and TensorFlow threads fit a machine.

Small models want a worker a core, each with one TensorFlow thread, so that they do not fight; every worker holds its
own copy of the models, so memory may allow fewer; a GPU wants one.
"""

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MEBI = 1024 * 1024
WORKER_BYTES = 350 * MEBI
"""A worker with TensorFlow imported, before any model and any request."""
MODEL_FACTOR = 3
"""Memory of a loaded model by its size on disk: the variables, the graph, and a second version during an update."""
FROZEN_FACTOR = 4
"""What a model takes beside that whose variables are made constants."""
THREADS = 8
"""Request threads of a worker: enough to read from slow callers while others are computed."""

_CGROUP = Path("/sys/fs/cgroup")
_MEMORY_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_CPU_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Where the two versions of cgroup have their limits; a CPU quota is microseconds of every so many, or max, or -1."""


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


def model_memory(size: int, most_frozen: int) -> int:
    """The memory of a loaded model with `size` bytes on disk, where those of up to `most_frozen` are frozen."""
    return size * (MODEL_FACTOR + (FROZEN_FACTOR if size <= most_frozen else 0))


def plan(machine: Machine, model_bytes: int, request_bytes: int, workers: int = 0, threads: int = 0) -> Plan:
    """Fit a server whose models take `model_bytes` of memory to a machine; 0 workers or threads leaves them to choose.

    `request_bytes` is what the requests of a worker may take in memory.
    """
    by_memory = machine.memory // (WORKER_BYTES + request_bytes + model_bytes)
    workers = workers or machine.gpus or max(1, min(machine.cores, by_memory))
    return Plan(workers, threads or THREADS)


def tensorflow_threads(machine: Machine, workers: int) -> int:
    """The threads that TensorFlow computes with in each of so many workers."""
    return max(1, machine.cores // max(1, workers))


def this_machine(gpus: int = 0, cgroup: Path = _CGROUP) -> Machine:
    """The cores and the memory that this process may use."""
    cores = min(len(os.sched_getaffinity(0)), _cgroup_cores(cgroup))
    return Machine(cores, min(_physical_memory(), _cgroup_memory(cgroup)), gpus)


def directory_bytes(directory: Path) -> int:
    """The size of all files below a directory; what vanishes meanwhile or cannot be looked at counts nothing."""
    return sum(_file_bytes(Path(place, name)) for place, _, names in os.walk(directory) for name in names)


def _file_bytes(file: Path) -> int:
    try:
        status = file.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_memory(cgroup: Path) -> int:
    """The memory limit of the container, or one that never counts."""
    for name in _MEMORY_LIMITS:
        try:
            return int((cgroup / name).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return 1 << 62


def _cgroup_cores(cgroup: Path) -> int:
    """The cores that the container's CPU time is worth, rounded up, or a number that never counts."""
    for names in _CPU_QUOTAS:
        try:
            quota, period = map(int, " ".join((cgroup / name).read_text() for name in names).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            return math.ceil(quota / period)
    return 1 << 62
