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
    """Memory of processes: what is theirs alone or shared among them counts once, and so do the files they map.

    Of the files, the process counts that maps most: all map the same libraries, and what else runs on the machine and
    maps them too (which changes PSS) changes nothing here.
    """
    owned = sum(_kibibytes(pid, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) for pid in pids)
    mapped = max((_kibibytes(pid, "status", ("RssFile:",)) for pid in pids), default=0)
    return (owned + mapped) * 1024


def memory_alone(pid: int) -> int:
    """Memory of one process as if it shared nothing, but for files: of them, as much as its parent maps, if that is
    more, since a forked process maps each when it first needs it."""
    parent = int(_stat(pid)[1])
    mapped = max(_kibibytes(one, "status", ("RssFile:",)) for one in (pid, parent))
    return (_kibibytes(pid, "status", ("RssAnon:", "RssShmem:")) + mapped) * 1024


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [one for one in tree(pid) if (fields := _stat(one)) and int(fields[1]) == pid]


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


def _kibibytes(pid: int, file: str, names: tuple[str, ...]) -> int:
    """The sum of some lines of a file about a process; 0 when it has ended."""
    try:
        lines = (_PROC / str(pid) / file).read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))
