"""Servers without the seconds that importing TensorFlow takes: forked from a process that has imported it.

    python -m tests.forks   <- {"arguments": [...], "environ": {...}, "log": "/tmp/log"}   -> its process id
                            <- the process id again                                       -> its exit status or null

What is forked goes on as `python -m gunicorn` does, and as the workers of a server do: TensorFlow is imported, and
nothing of it has run. Tests of what happens or is said at a start, or of what the system's loader is told, give the
command instead.
"""

import atexit
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Forks:
    """The process that forks; it ends when this one does."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.forks"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self._process.communicate)

    def start(self, arguments: list[str], environ: dict[str, str], log: Path) -> "Fork":
        """Start gunicorn with these arguments and this environment; its output goes to the log."""
        return Fork(self, self.ask({"arguments": arguments, "environ": environ, "log": str(log)}))

    def ask(self, order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Fork:
    """A forked process, with what tests use of `subprocess.Popen`."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.pid = pid
        self._forks = forks
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            self._status = self._forks.ask(self.pid)
        return self._status

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("gunicorn", timeout)
            time.sleep(0.02)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def main() -> None:
    """Fork as often as asked; a child leaves the loop, to become a server."""
    import serving.models.runtime  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            answer = exit_status(order)
        elif (answer := os.fork()) == 0:
            return become_server(**order)
        print(json.dumps(answer), flush=True)
    return None


def exit_status(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def become_server(arguments: list[str], environ: dict[str, str], log: str) -> None:
    output, nothing = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
    for given, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(given, number)
    tempfile.tempdir = None  # it follows from the environment
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["gunicorn", *arguments]
    runpy.run_module("gunicorn", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
