"""Many requests at once that take as much memory as they can, sent to a real worker."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from serving.settings import KEPT_SHARES
from tests import saved_models
from tests.conftest import Held
from tests.server import MEBI, Server, memory, serving
from tests.tensors.reading import VALUES, rows

BODY_BYTES = 2 * MEBI
ROOM = 40 * BODY_BYTES
THREADS = 8
SLACK = ROOM // KEPT_SHARES + 96 * MEBI
"""What threads may keep of what they have freed; and what a worker takes once, when it first answers such requests."""
SECONDS = 6
CLIENTS = 24


def bodies() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Texts of every kind: as large as is allowed, as large as can just be read, and compressed."""
    for value in VALUES:
        for size in (BODY_BYTES - 100, BODY_BYTES // 6):
            body = rows(value, size).encode()
            yield "/v1/models/model:predict", body, {}
            yield "/v2/models/model/infer", body, {}
        packed = gzip.compress(rows(value, 4 * BODY_BYTES).encode(), compresslevel=1)
        yield "/v1/models/model:predict", packed, {"Content_Encoding": "gzip"}


class Flood:
    """Clients that send bodies one after the other."""

    def __init__(self, server: Server) -> None:
        self.statuses: Counter[int] = Counter()
        self._server = server
        self._bodies = list(bodies())
        self._next = count()

    def run(self, seconds: float) -> None:
        """Send as many as this time allows."""
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._run, args=(until,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _run(self, until: float) -> None:
        while time.monotonic() < until:
            path, body, headers = self._bodies[next(self._next) % len(self._bodies)]
            try:
                self.statuses[self._server.ask("POST", path, body, **headers).status] += 1
            except OSError:
                self.statuses[0] += 1


def grown(models: Path, log: Path, room: int) -> tuple[int, Counter[int]]:
    """How much a worker with so much memory for requests grows at most in a flood, and how it answers."""
    settings = {
        "SERVING_MODEL_DIR": models,
        "SERVING_MAX_BODY_BYTES": BODY_BYTES,
        "WEB_CONCURRENCY": 1,
        "SERVING_THREADS": THREADS,
    }
    with serving(log, SERVING_REQUEST_MEMORY_BYTES=room, **settings) as server:
        (worker,) = server.workers()
        before, flood = memory(worker, "VmRSS"), Flood(server)
        flood.run(SECONDS)
        assert server.workers() == [worker]
        assert server.ask("POST", "/v1/models/model:predict", {"instances": [1.0]}).status == 200
        return memory(worker, "VmHWM") - before, flood.statuses


@pytest.mark.faults
def test_a_flood_of_the_worst_bodies_stays_inside_the_memory_for_requests(tmp_path: Path, held: Held) -> None:
    saved_models.scale(tmp_path / "models" / "1", 2.0)
    bounded, statuses = grown(tmp_path / "models", tmp_path / "bounded", ROOM)
    unbounded, _ = grown(tmp_path / "models", tmp_path / "unbounded", 1000 * ROOM)
    line = f"at most {(ROOM + SLACK) // MEBI} MiB more"
    held(f"{CLIENTS} clients with the worst bodies", line, f"{bounded // MEBI} MiB, {dict(statuses)}")
    held("the same without a bound", "the control: more than that", f"{unbounded // MEBI} MiB")
    assert bounded <= ROOM + SLACK < unbounded
    assert statuses.keys() <= {200, 400, 413, 503}
    assert {400, 413, 503} <= statuses.keys()
