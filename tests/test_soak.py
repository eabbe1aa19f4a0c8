"""A server under load for long, with bad requests and reloads: its memory does not grow.

SOAK_SECONDS is how long it takes. In the few minutes that the tests take, a growth of one percent an hour is less than
what allocators do by themselves, so only a growth that is beyond doubt fails; who wants to know more lets it run for
hours, and the bounds narrow.
"""

import json
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Held
from tests.memory import WARM_UP, Growth, growth, own_bytes
from tests.server import Client, Server, gunicorn, serving
from tests.test_server import publish

SECONDS = float(os.environ.get("SOAK_SECONDS", "180"))
CONTROL_SECONDS = 60.0
RELOAD_SECONDS = 60.0
RELOAD_SECONDS_AT_FIRST = 2.0
"""During the warm-up: the first reloads take memory that is used again by later ones."""
SAMPLE_SECONDS = 0.5
CLIENTS = 4
MOST_PERCENT = 1.0
"""An hour."""

PREDICT = "/v1/models/times:predict"
INFER = "/v2/models/times/infer"
LARGE = json.dumps({"instances": [1.5] * 100})
V2 = '{"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}'
GOOD = ((PREDICT, '{"instances": [1.0, 2.0]}'), (PREDICT, '{"inputs": [1.0]}'), (INFER, V2), (PREDICT, LARGE))
BAD = (
    (PREDICT, '{"instances": [1.0, "a"]}'),
    (PREDICT, '{"instances": [[1.0], [1.0, 2.0]]}'),
    (PREDICT, LARGE[:-2]),
    (PREDICT, "[" * 5000),
    (PREDICT, '{"signature_name": "none", "instances": [1.0]}'),
    (INFER, V2.replace("[2]", "[3]")),
    ("/v1/models/nobody:predict", '{"instances": [1.0]}'),
    ("/v1/models/times:unheard-of", "{}"),
)


class Soak(threading.Thread):
    """A client that sends a bad request for every nineteen good ones; the statuses of the answers by kind."""

    def __init__(self, client: Client, number: int, stop: threading.Event) -> None:
        super().__init__()
        self.answers = Counter[tuple[str, int]]()
        self._client, self._chance, self._stop_all = client, random.Random(number), stop

    def run(self) -> None:
        while not self._stop_all.is_set():
            kind = "bad" if self._chance.random() < 0.05 else "good"
            path, body = self._chance.choice(BAD if kind == "bad" else GOOD)
            answer = self._client.request("POST", path, body.encode())
            self.answers[kind, answer.status] += 1
        self._client.close()


def soak(server: Server, model: Path, seconds: float) -> tuple[Growth, Counter[tuple[str, int]], int]:
    """The growth of a worker's memory, the answers of all clients, and the reloads."""
    (worker,) = server.workers()
    stop = threading.Event()
    clients = [Soak(server.client(), number, stop) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    begun, samples, version, due = time.monotonic(), list[tuple[float, int]](), 1, RELOAD_SECONDS_AT_FIRST
    while (passed := time.monotonic() - begun) < seconds:
        samples.append((passed, own_bytes(worker)))
        if passed >= due:
            version += 1
            due += RELOAD_SECONDS_AT_FIRST if passed < WARM_UP * seconds else RELOAD_SECONDS
            publish(model, version, float(version))
            shutil.rmtree(model / str(version - 1))
        stop.wait(SAMPLE_SECONDS)
    stop.set()
    for client in clients:
        client.join()
    return growth(samples), sum((client.answers for client in clients), Counter()), version - 1


@pytest.mark.faults
@pytest.mark.parametrize("leaks", [False, True], ids=["the server", "a server that leaks"])
def test_memory_does_not_grow_under_bad_input_and_reloads(leaks: bool, tmp_path: Path, held: Held) -> None:
    publish(tmp_path / "models" / "times", 1, 1.0)
    settings = {"SERVING_MODEL_DIR": tmp_path / "models", "SERVING_ACCESS_LOG": "false", "WEB_CONCURRENCY": 1}
    command = [sys.executable, "-m", "gunicorn", "tests.leaking_app:app"] if leaks else gunicorn()
    seconds = CONTROL_SECONDS if leaks else SECONDS
    with serving(tmp_path / "log", command, SERVING_MODEL_POLL_SECONDS=1, **settings) as server:
        found, answers, reloads = soak(server, tmp_path / "models" / "times", seconds)
    bad = sum(count for (kind, _), count in answers.items() if kind == "bad")
    held(
        "soak with 5 % bad input, a reload a minute" + (", and a leak" if leaks else ""),
        "a leaking control fails the check" if leaks else "memory grows by 1 % an hour or less",
        f"{found} in {seconds:.0f} s; {answers.total()} requests, {bad} of them bad, {reloads} reloads",
    )
    assert {status for (kind, status) in answers if kind == "good"} == {200}
    assert {status for (kind, status) in answers if kind == "bad"} <= {400, 404}
    assert bad > 100
    assert (found.low > MOST_PERCENT) is leaks


def noisy(percent_per_hour: float, seconds: int, spread: int) -> list[tuple[float, int]]:
    """Samples of a process of 400 MB that grows so, each off by up to `spread` bytes."""
    chance = random.Random(0)
    base, leak = 400e6, 4e6 * percent_per_hour / 3600
    return [(float(at), int(base + leak * at + chance.uniform(-spread, spread))) for at in range(seconds)]


def test_memory_that_stays_is_not_taken_for_a_leak() -> None:
    found = growth(noisy(0, 600, spread=2_000_000))
    assert found.low < 0 < found.high


def test_what_is_taken_at_first_is_not_taken_for_a_leak() -> None:
    taken = [(at, size - max(0, 50_000_000 - int(at) * 500_000)) for at, size in noisy(0, 600, spread=100_000)]
    assert abs(growth(taken).percent_per_hour) < 1


@pytest.mark.parametrize("percent", [5, 20])
def test_a_leak_is_measured(percent: int) -> None:
    found = growth(noisy(percent, 7200, spread=2_000_000))
    assert found.percent_per_hour == pytest.approx(percent, rel=0.15)
    assert found.low > MOST_PERCENT
