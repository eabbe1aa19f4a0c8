"""Workers that end: killed, told to, replaced; and what becomes of the requests meanwhile."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests import saved_models
from tests.conftest import Held
from tests.faults.load import BROKEN, Asked, Load, count, get, latency, predict
from tests.server import Server, serving, wait_for

CLIENTS = 8
ASK = predict("half", [[1.0]])
ASK_SLOWLY = predict("slow", [60])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    saved_models.half_plus_two(models / "half" / "1")
    saved_models.slow(models / "slow" / "1")
    return models


def failed(asked: Sequence[Asked]) -> list[Asked]:
    return [its for its in asked if its.status != 200]


def unexplained(asked: Sequence[Asked], kills: Sequence[float]) -> list[Asked]:
    """The failures that were not in flight when a worker was killed, give or take the time it takes to notice."""
    return [
        its for its in failed(asked) if not any(its.at - 0.05 <= kill <= its.at + its.seconds + 0.05 for kill in kills)
    ]


class TestKilled:
    @pytest.mark.faults
    def test_only_requests_in_flight_in_a_killed_worker_fail(self, models: Path, tmp_path: Path, held: Held) -> None:
        kills: list[float] = []
        replaced: list[float] = []
        shared = tmp_path / "shared"
        settings = {"SERVING_RUNTIME_DIR": shared, "WEB_CONCURRENCY": 2}
        with serving(tmp_path / "log", SERVING_MODEL_DIR=models, **settings) as server:
            started = time.monotonic()
            before = server.workers()
            os.kill(before[0], signal.SIGKILL)
            load_seconds = until_replaced(server, shared, before, started)
            with Load(server.port, ASK, CLIENTS) as load, Load(server.port, get("/metrics"), 1, pause=0.2) as scrapes:
                for _ in range(4):
                    time.sleep(5)
                    before = server.workers()
                    kills.append(time.monotonic())
                    os.kill(before[0], signal.SIGKILL)
                    replaced.append(until_replaced(server, shared, before, kills[-1]))
            files = sorted(path.name for path in (shared / "metrics").iterdir())
        broken = failed(load.asked)
        held(
            "kill -9 of a worker every 5 to 10 s under load",
            "only requests in flight in it fail; metrics answer; replacement ready within load time + 15 s",
            f"{len(load.asked)} requests, {len(broken)} failed in {len(kills)} kills, "
            f"{len(unexplained(load.asked, kills))} not in flight; {len(scrapes.asked)} scrapes, "
            f"{len(unexplained(scrapes.asked, kills))} failed; replaced after {max(replaced):.1f} s "
            f"(without load {load_seconds:.1f} s)",
        )
        assert not unexplained(load.asked, kills)
        assert len(broken) <= CLIENTS * len(kills)
        assert not unexplained(scrapes.asked, kills)
        assert max(replaced) < load_seconds + 15
        assert unexplained(load.asked, []) == broken  # the check sees the failures when it is not told of the kills
        assert len({name.rpartition("_")[2] for name in files}) <= 3  # two workers and the parent

    @pytest.mark.faults
    def test_counts_never_go_down(self, models: Path, tmp_path: Path) -> None:
        with serving(tmp_path / "log", SERVING_MODEL_DIR=models, WEB_CONCURRENCY=1) as server:
            for _ in range(20):
                server.ask("POST", "/v1/models/half:predict", {"instances": [[1.0]]})
            wait_for(lambda: answered(server) == 20, "they are counted")
            before = server.workers()
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda: server.workers() not in ([], before), "a new worker")
            server.ask("POST", "/v1/models/half:predict", {"instances": [[1.0]]})
            wait_for(lambda: answered(server) == 21, "the new worker counts on")


def answered(server: Server) -> float:
    line = 'serving_requests_total{method="predict",model="half",status="200",version="1"} '
    text = server.ask("GET", "/metrics").body.decode()
    return sum(float(row.removeprefix(line)) for row in text.splitlines() if row.startswith(line))


def until_replaced(server: Server, shared: Path, before: list[int], since: float) -> float:
    """The seconds until another worker has taken the place of one that has ended, and serves."""
    wait_for(lambda: len(server.workers()) == 2 and set(server.workers()) != set(before), "a new worker")
    (new,) = set(server.workers()) - set(before)
    wait_for(lambda: f"{new}.json" in settled(shared), "it has loaded")
    return time.monotonic() - since


def settled(shared: Path) -> list[str]:
    """The files of the workers that have loaded what there is."""
    return [file.name for file in (shared / "workers").glob("*.json") if '"settled": true' in file.read_text()]


class TestReload:
    @pytest.mark.faults
    def test_reloads_drop_nothing(self, models: Path, tmp_path: Path, held: Held) -> None:
        with serving(tmp_path / "log", SERVING_MODEL_DIR=models, WEB_CONCURRENCY=2) as server:
            with Load(server.port, ASK, CLIENTS) as load:
                for _ in range(10):
                    before = server.workers()
                    server.process.send_signal(signal.SIGHUP)
                    wait_for(lambda b=before: len(server.workers()) == 2 and not set(server.workers()) & set(b), "new")
                wait_for(lambda: len(load.asked) >= 10_000, "enough requests", 120)
            with Load(server.port, ASK_SLOWLY, CLIENTS) as control:  # of quick requests none may be in flight
                wait_for(lambda: control.asked, "they are answered")
                for worker in server.workers():
                    os.kill(worker, signal.SIGQUIT)
                time.sleep(0.5)
        held(
            "SIGHUP x 10 under load",
            "0 of 10,000 fail",
            f"{len(failed(load.asked))} of {len(load.asked)} failed, slowest {latency(load.asked, 1.0) * 1000:.0f} ms; "
            f"control (workers stopped at once): {len(failed(control.asked))} failed",
        )
        assert failed(load.asked) == []
        assert failed(control.asked)

    @pytest.mark.faults
    def test_the_old_workers_serve_until_the_new_ones_can(self, models: Path, tmp_path: Path) -> None:
        with serving(tmp_path / "log", SERVING_MODEL_DIR=models, WEB_CONCURRENCY=1) as server:
            (before,) = server.workers()
            with Load(server.port, ASK, 1) as load:
                server.process.send_signal(signal.SIGHUP)
                wait_for(lambda: len(server.workers()) == 1 and server.workers() != [before], "a new worker")
            log = server.log.read_text()
        assert failed(load.asked) == []
        assert log.index("Booting worker", log.index("hup")) < log.index(f"Worker exiting (pid: {before})")
        assert log.rindex("is available") < log.index(f"Worker exiting (pid: {before})")

    @pytest.mark.faults
    def test_a_worker_that_makes_room_after_so_many_requests_drops_none(self, models: Path, tmp_path: Path) -> None:
        settings = {"WEB_CONCURRENCY": 2, "GUNICORN_CMD_ARGS": "--max-requests 300 --max-requests-jitter 100"}
        with serving(tmp_path / "log", SERVING_MODEL_DIR=models, **settings) as server:
            before = set(server.workers())
            with Load(server.port, ASK, 4) as load:
                wait_for(lambda: not before & set(server.workers()) and len(server.workers()) == 2, "new workers")
        assert failed(load.asked) == []


class TestStop:
    def stop(
        self, models: Path, log: Path, stop: Callable[[Server], None], unready_seconds: float
    ) -> tuple[list[Asked], list[Asked], int]:
        """Requests to a slow model begun before a server stops, what it said of its readiness, its exit status."""
        settings = {"WEB_CONCURRENCY": 2, "SERVING_UNREADY_SECONDS": unready_seconds}
        with serving(log, SERVING_MODEL_DIR=models, **settings) as server:
            slow = Load(server.port, ASK_SLOWLY, 6)
            ready = Load(server.port, get("/readyz"), 1, pause=0.02)
            with slow, ready:
                time.sleep(0.5)
                told = time.monotonic()
                slow.stopped = True  # what has begun is to be answered; nobody begins anything more
                stop(server)
                status = server.process.wait(60)
            begun = [its for its in slow.asked if its.at < told]
            return begun, [its for its in ready.asked if its.at > told], status

    @pytest.mark.faults
    def test_what_has_begun_is_answered_and_the_server_says_first_that_it_is_not_ready(
        self, models: Path, tmp_path: Path, held: Held
    ) -> None:
        begun, readiness, status = self.stop(
            models, tmp_path / "log", lambda server: server.process.send_signal(signal.SIGTERM), 1.0
        )
        unready = [its for its in readiness if its.status == 503]
        killed, *_ = self.stop(models, tmp_path / "control", kill_all, 1.0)
        held(
            "SIGTERM under load",
            "every request begun is answered; not ready first; exit 0",
            f"{len(failed(begun))} of {len(begun)} begun failed, {len(unready)} times not ready while it still took "
            f"connections, exit {status}; control (kill -9): {len(failed(killed))} of {len(killed)} failed",
        )
        assert failed(begun) == []
        assert unready
        assert count(readiness, lambda its: its.status == BROKEN and its.at < unready[-1].at) == 0
        assert status == 0
        assert failed(killed)


def kill_all(server: Server) -> None:
    for process in (server.process.pid, *server.workers()):
        os.kill(process, signal.SIGKILL)
