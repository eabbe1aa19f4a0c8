"""What many and large requests leave behind: `python -m bench.endurance [memory] [beside]`.

memory   how much the workers have grown after 10,000 requests of 32 images, since the first 100
beside   p99 of small requests while another client sends bodies of 16 MB, against p99 without it
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import load, processes, servers
from bench.campaign import gather
from bench.load import Job, Outcome
from bench.models import CONV, TINY, WIDE, Model
from bench.processes import MEBI
from bench.servers import FIRST_PORT, Running
from serving import heap

BATCH = 32
REQUESTS = 10_000
SETTLING_REQUESTS = 100
CLIENTS = 4
CHUNK_SECONDS = 60.0

SMALL_RATE = 200.0
"""Small requests a second: few, so that it is the large bodies that make them wait and not each other."""
SMALL_CLIENTS = 8
LARGE_NUMBERS = 1_300_000  # of some 12 bytes
SECONDS = 6.0
REPEATS = 5


def memory(running: Running) -> None:
    """Print the memory of each worker after the first requests and after all."""
    requests = list(_requests(running, CONV, BATCH, 8))
    _send(Job(running.port, requests, CLIENTS, 0.1, 0.0, SETTLING_REQUESTS))
    workers = processes.children(running.process.pid)
    before = _settled(workers)
    sent = 0
    while sent < REQUESTS:
        sent += _send(Job(running.port, requests, CLIENTS, CHUNK_SECONDS)).total
        now = _settled(workers)
        grown = ", ".join(f"{after - first:+.1f}" for first, after in zip(before, now, strict=True))
        print(
            f"after {sent:6d} requests of {BATCH} images: MiB of the workers since the first 100: {grown}", flush=True
        )


def _settled(workers: list[int]) -> list[float]:
    """The MiB of each worker, once it has given back what it has freed."""
    time.sleep(heap.SECONDS + 1)
    return [processes.memory_alone(pid) / MEBI for pid in workers]


def beside(running: Running) -> None:
    """Print the p99 of small requests without and with large ones beside them, and the ratio of the medians."""
    small = list(_requests(running, TINY, 1, 16))
    large = list(_requests(running, WIDE, LARGE_NUMBERS, 1))
    quiet, busy = list[float](), list[float]()
    _send(Job(running.port, large, 2, 1.0))
    for _ in range(REPEATS):
        quiet.append(_small(running, small).p99)
        with ThreadPoolExecutor(1) as pool:
            others = pool.submit(_send, Job(running.port, large, 1, SECONDS + 1.0, gives_way=True))
            busy.append(_small(running, small).p99)
            answered = others.result().total
        print(
            f"p99 {quiet[-1]:.2f} ms; beside {answered} bodies of {len(large[0]) / 1e6:.0f} MB {busy[-1]:.2f} ms",
            flush=True,
        )
    print(f"ratio of the medians: {statistics.median(busy) / statistics.median(quiet):.2f}")


def _small(running: Running, requests: list[bytes]) -> Outcome:
    return _send(Job(running.port, requests, SMALL_CLIENTS, SECONDS, SMALL_RATE))


def _requests(running: Running, model: Model, rows: int, count: int) -> Iterable[bytes]:
    encode = running.server.dialects["json"].encode
    return (encode(model.name, model.inputs(rows, number)).bytes() for number in range(count))


def _send(job: Job) -> Outcome:
    outcome = load.run(job)
    if outcome.failures:
        sys.exit(f"requests failed: {outcome.failures}")
    return outcome


MEASUREMENTS = {"memory": memory, "beside": beside}


def main(names: list[str]) -> None:
    """Start the server as `make run` does and measure what is asked for, or everything."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        directory = gather([CONV.name, TINY.name, WIDE.name], Path(scratch) / "models")
        running = servers.start(servers.ours(), FIRST_PORT, directory, Path(scratch) / "server")
        try:
            for name in names or MEASUREMENTS:
                MEASUREMENTS[name](running)
        finally:
            running.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
