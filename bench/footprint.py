"""Start-up time, and memory of a worker that has no model, each beside the least that TensorFlow itself takes."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import models, processes, servers
from bench.campaign import gather
from bench.loop import Loops
from bench.places import ROOT
from bench.processes import MEBI
from bench.servers import LAST_PORT

READY, BARE_READY = "ready after start", "import + load"
WORKER, BARE_WORKER = "memory of a worker, no model", "memory of `import tensorflow`"
_IMPORT = "import sys, tensorflow; print(flush=True); sys.stdin.read()"


def measure(scratch: Path, repeats: int, say: Callable[[str], None]) -> dict[str, float]:
    """Seconds until ready, and MiB."""
    tiny = gather([models.TINY.name], scratch / "tiny")
    none = scratch / "none"
    none.mkdir()
    ready, bare, worker, imported = [], [], [], []
    for repeat in range(repeats):
        say(f"start-up and memory, {repeat + 1} of {repeats}")
        ready.append(_ready_seconds(tiny, scratch / f"ready-{repeat}"))
        bare.append(_bare_seconds())
        worker.append(_worker_mebi(none, scratch / f"worker-{repeat}"))
        imported.append(_import_mebi())
    return {READY: median(ready), BARE_READY: median(bare), WORKER: median(worker), BARE_WORKER: median(imported)}


def _ready_seconds(directory: Path, scratch: Path) -> float:
    running = servers.start(servers.ours(), LAST_PORT, directory, scratch)
    running.stop()
    return running.start_seconds


def _bare_seconds() -> float:
    """From the start of a process that imports TensorFlow and loads a model to its first answer."""
    began = time.perf_counter()
    loop = Loops(1)
    try:
        loop.answer(models.TINY.name, models.TINY.inputs(1, 0))
        return time.perf_counter() - began
    finally:
        loop.close()


def _worker_mebi(directory: Path, scratch: Path) -> float:
    """Memory of the largest worker; a server without a model is alive, and never ready."""
    running = servers.start(replace(servers.ours(), ready="/healthz"), LAST_PORT, directory, scratch)
    try:
        return max(processes.memory_alone(worker) for worker in processes.children(running.process.pid)) / MEBI
    finally:
        running.stop()


def _import_mebi() -> float:
    process = subprocess.Popen(
        [sys.executable, "-c", _IMPORT],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        return processes.memory_alone(process.pid) / MEBI
    finally:
        process.communicate()
