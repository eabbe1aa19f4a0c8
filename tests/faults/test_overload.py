"""More than the server can do, and more to one model than to the others.

The server and its clients have a core each, and what is compared is measured in turns, as the times of a busy machine
change from one moment to the next.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import saved_models
from tests.conftest import Held
from tests.cores import clients_on_another, gunicorn_on_a_core
from tests.faults.load import Asked, Load, flood, get, goodput, latency, predict
from tests.server import Server, serving

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("apart")]

ROUNDS = 3
SECONDS = 4.0
FLOOD_SECONDS = 20.0
FLOOD_CLIENTS = 64
MODERATE, SLOW = [40], [100]
"""Some 15 and 35 ms of computing for `slow` and `other`, in a thread: they are made to run each request alone."""
FLOODS = {"slow": predict("slow", MODERATE), "quick": predict("quick", [[1.0]])}


@pytest.fixture
def apart() -> Iterator[None]:
    with clients_on_another():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    for name in ("slow", "other"):
        saved_models.slow(models / name / "1")
        (models / name / "1" / "batching_params.pbtxt").write_text("max_batch_size { value: 1 }")
    for name in ("half", "quick"):
        saved_models.half_plus_two(models / name / "1")
    return models


@contextmanager
def started(models: Path, log: Path, application: str = "wsgi:app", **settings: Any) -> Iterator[Server]:
    settings |= {"SERVING_MODEL_DIR": models, "WEB_CONCURRENCY": 1, "SERVING_ACCESS_LOG": "false"}
    with serving(log, gunicorn_on_a_core(application), **settings) as server:
        for name in ("slow", "other"):
            Load(server.port, predict(name, MODERATE), 4).for_seconds(1)  # everything is warm then
        yield server


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(models, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


def one_client(server: Server, request: bytes, seconds: float = SECONDS) -> list[Asked]:
    return Load(server.port, request, 1, pause=0.01).for_seconds(seconds)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


class TestNeighbours:
    @pytest.mark.parametrize("flooded_model", ["slow", "quick"])
    @pytest.mark.parametrize(
        ("who", "request_", "noise"),
        [
            ("another quick model", predict("half", [[1.0]]), 0.001),
            ("another slow model", predict("other", MODERATE), 0.005),  # of one core each has half: twice is the least
            ("/healthz", get("/healthz"), 0.001),
        ],
        ids=["quick", "slow", "health"],
    )
    def test_a_flood_to_one_model_leaves_the_others(
        self, server: Server, held: Held, flooded_model: str, who: str, request_: bytes, noise: float
    ) -> None:
        idle, flooded = beside_a_flood(server, FLOODS[flooded_model], request_)
        held(
            f"{FLOOD_CLIENTS} clients flood a {flooded_model} model, one asks {who}",
            f"p99 within twice its own ({ms(noise)} is left to noise)",
            compared(idle, flooded),
        )
        assert latency(flooded, 0.5) < 2.5 * latency(idle, 0.5)  # of one core each has half; no run takes equally long
        assert latency(flooded, 0.99) < 2 * latency(idle, 0.99) + noise

    @pytest.mark.parametrize(
        ("without", "flooded_model", "who", "request_"),
        [
            ("beat", "slow", "/healthz", get("/healthz")),
            ("turns", "quick", "/healthz", get("/healthz")),
            ("turns", "quick", "a slow model", predict("other", MODERATE)),
        ],
        ids=["beat", "turns", "rests"],
    )
    def test_without_what_is_for_it_it_takes_half_as_long_again(
        self, server: Server, models: Path, tmp_path: Path, held: Held, without: str, flooded_model: str, who: str,
        request_: bytes,
    ) -> None:  # fmt: skip
        """One request in ten does, at least: what is rarer a busy machine does to both."""
        beside, control = [], []
        with started(models, tmp_path / "log", f"tests.{without}less_app:app") as other:
            for _ in range(ROUNDS):
                beside += one_client_beside_a_flood(server, FLOODS[flooded_model], request_)
                control += one_client_beside_a_flood(other, FLOODS[flooded_model], request_)
        (median_with, p90_with), (median, p90) = [
            [latency(asked, part) for part in (0.5, 0.9)] for asked in (beside, control)
        ]
        held(
            f"control: {FLOOD_CLIENTS} clients flood a {flooded_model} model, one asks {who}, without {without}",
            "p90 half as long again",
            f"p50 {ms(median)}, p90 {ms(p90)}; with it {ms(median_with)}, {ms(p90_with)}: {p90 / p90_with:.1f}x",
        )
        assert p90 > 1.5 * p90_with


def beside_a_flood(server: Server, flooding: bytes, request: bytes) -> tuple[list[Asked], list[Asked]]:
    """What one client asks while nobody else does, and while many flood a model."""
    idle, flooded = [], []
    for _ in range(ROUNDS):
        idle += one_client(server, request)
        flooded += one_client_beside_a_flood(server, flooding, request)
    assert {asked.status for asked in idle} == {200}
    return idle, flooded


def one_client_beside_a_flood(server: Server, flooding: bytes, request: bytes) -> list[Asked]:
    with flood(server.port, flooding, FLOOD_CLIENTS):
        asked = one_client(server, request)
    assert {its.status for its in asked} == {200}
    return asked


def compared(idle: list[Asked], flooded: list[Asked]) -> str:
    (before, its), (median, p99) = [[latency(asked, part) for part in (0.5, 0.99)] for asked in (idle, flooded)]
    return f"without the flood p50 {ms(before)}, p99 {ms(its)}; with it {ms(median)}, {ms(p99)}: {p99 / its:.1f}x"


class TestOverload:
    def test_ten_times_as_much_leaves_the_goodput(self, models: Path, tmp_path: Path, held: Held) -> None:
        ask = predict("slow", SLOW)
        with started(models, tmp_path / "log", SERVING_MAX_QUEUED_REQUESTS=16) as server:
            alone = one_client(server, ask)
            calm, flooded, after = [], [], []
            for _ in range(ROUNDS):
                before = Load(server.port, ask, 8).for_seconds(SECONDS)
                rate = 10 * goodput(before, SECONDS)
                flooded += Load(server.port, ask, 80, rate=rate).for_seconds(FLOOD_SECONDS)
                time.sleep(2)
                after += one_client(server, ask, 2)
                calm += before + Load(server.port, ask, 8).for_seconds(SECONDS)
        with started(models, tmp_path / "control", SERVING_MAX_QUEUED_REQUESTS=100_000) as server:
            unbounded = Load(server.port, ask, 80).for_seconds(SECONDS)
        seconds = FLOOD_SECONDS * ROUNDS
        good, peak = goodput(flooded, seconds), goodput(calm, 2 * ROUNDS * SECONDS)
        refused = [asked for asked in flooded if asked.status == 503]
        held(
            f"10x overload for {seconds:g} s",
            "goodput >= 90 % of peak, refusals in 50 ms, back to normal in 2 s",
            f"goodput {good:.1f}/s, at peak {peak:.1f}/s ({good / peak:.0%}); "
            f"{len(refused) / seconds:.0f}/s refused, p50 {ms(latency(refused, 0.5, 503))}, "
            f"p99 {ms(latency(refused, 0.99, 503))}; one client: p50 {ms(latency(alone, 0.5))} before, "
            f"{ms(latency(after, 0.5))} from 2 s after it; control (no bound): none refused, "
            f"p50 {ms(latency(unbounded, 0.5))} where it was {ms(latency(flooded, 0.5))}",
        )
        assert {asked.status for asked in flooded} == {200, 503}
        assert good >= 0.9 * peak
        assert latency(refused, 0.99, 503) < 0.05
        assert latency(after, 0.5) < 1.5 * latency(alone, 0.5)
        assert {asked.status for asked in unbounded} == {200}
        assert latency(unbounded, 0.5) > 2 * latency(flooded, 0.5)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_answers_never_queue(server: Server, held: Held, path: str) -> None:
    with flood(server.port, FLOODS["quick"], FLOOD_CLIENTS):
        asked = one_client(server, get(path))
    held(
        f"{FLOOD_CLIENTS} clients flood a quick model, one asks {path}",
        "p99 < 1 s",
        f"p50 {ms(latency(asked, 0.5))}, p99 {ms(latency(asked, 0.99))}",
    )
    assert {its.status for its in asked} == {200}
    assert latency(asked, 0.99) < 1
