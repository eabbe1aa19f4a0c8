"""How cost grows with the number of models that are loaded. (Rows, clients and payload are work like any other.)"""

import shutil
from collections.abc import Callable
from pathlib import Path

from bench import models, servers
from bench.measure import Measurer
from bench.servers import LAST_PORT
from bench.work import TINY_32

COUNTS = (1, 10, 50)


def measure(measurer: Measurer, scratch: Path, say: Callable[[str], None]) -> list[dict[str, float]]:
    """Copies of the tiny model, all asked in turn: start-up, requests a second, p99 and memory."""
    rows = []
    for count in COUNTS:
        say(f"{count} models loaded")
        directory = scratch / f"copies-{count}"
        names = _copies(directory, count)
        running = servers.start(servers.ours(), LAST_PORT, directory, scratch / f"loaded-{count}")
        try:
            sample = measurer.measure(running, TINY_32, names=names)
        finally:
            running.stop()
        measured = {"req/s": sample.per_second, "p99 ms": sample.p99, "MiB": sample.memory}
        rows.append({"models": count, "ready s": running.start_seconds, **measured})
    return rows


def _copies(directory: Path, count: int) -> list[str]:
    source = models.ensure([models.TINY.name]) / models.TINY.name
    directory.mkdir()
    names = [f"tiny-{number}" for number in range(count)]
    for name in names:
        shutil.copytree(source, directory / name)
    return names
