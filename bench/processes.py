"""What a tree of processes uses, from /proc: CPU time and memory."""

import os
import threading
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
MEBI = 1024 * 1024


def tree(root: int) -> set[int]:
    """A process, its descendants, and everything else in its session."""
    parents, members = {}, {root}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            pid = int(entry.name)
            parents[pid] = int(fields[1])
            if int(fields[3]) == root:
                members.add(pid)
    while grown := {pid for pid, parent in parents.items() if parent in members and pid not in members}:
        members |= grown
    return members


def cpu_seconds(pids: set[int]) -> float:
    """CPU time of processes since they started, of their ended children too."""
    ticks = 0
    for pid in pids:
        if fields := _stat(pid):
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICK


def machine_cpu_seconds() -> float:
    """CPU time that everything on this machine has used."""
    user, nice, system, _idle, _iowait, irq, soft, *_ = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(ticks) for ticks in (user, nice, system, irq, soft)) / _TICK


def memory_bytes(pids: set[int]) -> int:
    """Memory of processes, where what several share counts once (PSS)."""
    return sum(_pss(pid) for pid in pids)


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(child) for child in (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]


class MemoryPeak:
    """Looks at the memory of a tree once a second, and remembers the most; it is looked at once at the end anyway."""

    def __init__(self, root: int) -> None:
        self.bytes = 0
        self._root = root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory")

    def __enter__(self) -> "MemoryPeak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(1.0)
            self.bytes = max(self.bytes, memory_bytes(tree(self._root)))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, group, session...; none when it has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pss(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
