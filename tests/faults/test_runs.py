"""Runs that do not end, that end the process, and that fail."""

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serving.worker import SILENT_SECONDS
from tests import saved_models
from tests.conftest import Held
from tests.faults.load import Load, latency, predict
from tests.server import Answer, Server, serving, wait_for

TIMEOUT_SECONDS = 2.0
DEADLY = 13
"""What `killer` and `stuck` do not bear."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    for write in (
        saved_models.endless,
        saved_models.half_plus_two,
        saved_models.killer,
        saved_models.not_finite,
        saved_models.raises,
        saved_models.stuck,
    ):
        write(models / write.__name__ / "1")
    return models


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers that allow a request two seconds."""
    settings: dict[str, Any] = {
        "SERVING_MODEL_DIR": models,
        "SERVING_REQUEST_TIMEOUT_SECONDS": TIMEOUT_SECONDS,
        "SERVING_ALLOW_MODEL_CONTROL": "true",
        "WEB_CONCURRENCY": 2,
    }
    with serving(tmp_path_factory.mktemp("server") / "log", **settings) as server:
        yield server


def ask(server: Server, model: str, *rows: Any, **headers: str) -> tuple[Answer, float]:
    """The answer to a predict request, and how long it took."""
    started = time.monotonic()
    answer = server.ask("POST", f"/v1/models/{model}:predict", {"instances": list(rows)}, **headers)
    return answer, time.monotonic() - started


def ask_v2(server: Server, model: str, seconds: float) -> tuple[Answer, float]:
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}],
        "parameters": {"timeout": round(seconds * 1e6)},
    }
    started = time.monotonic()
    answer = server.ask("POST", f"/v2/models/{model}/infer", body)
    return answer, time.monotonic() - started


def seconds_until_free(server: Server) -> float:
    """How long a harmless request to the endless model waits, for whoever still runs it holds it up; or for ever."""
    answer, seconds = ask(server, "endless", -1.0)
    return seconds if answer.status == 200 else math.inf


class TestEndless:
    @pytest.mark.faults
    @pytest.mark.quick
    def test_an_endless_run_is_answered_at_the_deadline_and_its_slot_is_free(self, server: Server, held: Held) -> None:
        late, freed = [], []
        for allowed, (answer, seconds) in (
            (TIMEOUT_SECONDS, ask(server, "endless", 1.0)),
            (0.5, ask(server, "endless", 1.0, X_Request_Timeout_Ms="500")),
            (0.5, ask_v2(server, "endless", 0.5)),
        ):
            assert answer.status == 504
            assert "Timed out waiting for notification" in answer.json["error"]
            late.append(seconds / allowed - 1)
            freed += [seconds_until_free(server) for _ in range(4)]  # whichever worker is asked
        held(
            "endless graph (2 s by default, 0.5 s by header, 0.5 s by v2's `timeout`)",
            "504 by the deadline + 10 %, slot free 1 s later",
            f"504 at the deadline + {max(late):.1%} at most, slot free after {max(freed):.3f} s",
        )
        assert max(late) < 1  # on a machine that is busy; without a time-out of its own it would be 3 and more
        assert max(freed) < 1

    @pytest.mark.faults
    def test_the_check_sees_a_slot_that_is_not_free(self, server: Server) -> None:
        with ExitStack() as floods:

            def is_seen() -> bool:
                floods.enter_context(Load(server.port, predict("endless", [1.0]), 8))
                return seconds_until_free(server) > 0.1

            wait_for(is_seen, "enough of them are in every worker", 20)


class TestStuck:
    @pytest.mark.faults
    def test_a_worker_with_a_run_that_nothing_stops_is_replaced(self, server: Server, held: Held) -> None:
        before = set(server.workers())
        with Load(server.port, predict("half_plus_two", [[1.0]]), 4, pause=0.01) as siblings:
            answer, seconds = ask(server, "stuck", DEADLY)
            started = time.monotonic() - seconds
            wait_for(lambda: before - set(server.workers()), "the worker ends", 30)
            ended = time.monotonic() - started
            wait_for(lambda: len(server.workers()) == 2, "a new worker", 30)
            wait_for(lambda: ask(server, "stuck", 1)[0].status == 200, "it serves", 30)
        failed = [asked for asked in siblings.asked if asked.status != 200]
        held(
            "a kernel that cannot be interrupted",
            "504 by the deadline + 10 %; the worker is replaced, the others serve",
            f"504 after {seconds:.2f} s of {TIMEOUT_SECONDS:g} allowed, the worker ended after {ended:.1f} s; "
            f"{len(failed)} of {len(siblings.asked)} requests to another model failed, p99 "
            f"{latency(siblings.asked, 0.99) * 1000:.0f} ms",
        )
        assert answer.status == 504
        assert seconds < 1.1 * TIMEOUT_SECONDS + 0.1
        assert len(before - set(server.workers())) == 1
        assert "has not ended for" in server.log.read_text()
        assert failed == []

    @pytest.mark.faults
    def test_a_quick_model_that_holds_up_the_event_loop_is_replaced_too(self, tmp_path: Path, held: Held) -> None:
        """Such a model runs in the loop, which answers nobody meanwhile; its row was quick when it was tried."""
        saved_models.half_plus_two(tmp_path / "models" / "half_plus_two" / "1")
        saved_models.stuck(tmp_path / "models" / "stuck" / "1", usual_size=1)
        settings = {"SERVING_REQUEST_TIMEOUT_SECONDS": TIMEOUT_SECONDS, "WEB_CONCURRENCY": 1}
        with serving(tmp_path / "log", SERVING_MODEL_DIR=tmp_path / "models", **settings) as server:

            def seconds_held_up() -> float | None:
                """Ask; None when a busy machine made the model look slow, so that a thread ran it."""
                before, started, ended = server.workers(), time.monotonic(), None
                try:
                    ask(server, "stuck", DEADLY)
                except ConnectionError:  # closed by the end of the worker
                    ended = time.monotonic()
                wait_for(lambda: server.workers() not in ([], before), "a new worker", 30)
                wait_for(server.is_ready, "it serves")
                return ended and ended - started

            ended = wait_for(seconds_held_up, "the model passes for quick")
            assert ask(server, "half_plus_two", [1.0])[0].status == 200
        held(
            "a quick model that holds up the event loop",
            "the worker is replaced after 10 s",
            f"the worker ended after {ended:.1f} s",
        )
        assert "has not ended for" in server.log.read_text()
        assert SILENT_SECONDS - 1 < ended < 15


class TestKiller:
    def kill(self, server: Server) -> None:
        """Ask what ends the worker, and wait until another one has taken its place."""
        before = set(server.workers())
        with pytest.raises(OSError, match=r"closed|reset"):
            ask(server, "killer", DEADLY)
        wait_for(lambda: len(server.workers()) == 2 and before != set(server.workers()), "a new worker")

    @pytest.mark.faults
    @pytest.mark.quick
    def test_a_version_that_ends_workers_is_put_in_quarantine(self, server: Server, held: Held) -> None:
        for _ in range(2):
            self.kill(server)
            assert ask(server, "killer", 1)[0].status == 200
        self.kill(server)
        wait_for(lambda: ask(server, "killer", 1)[0].status == 503, "the quarantine holds")
        answer, seconds = ask(server, "killer", DEADLY)
        held(
            "a request that ends its process",
            "after the third time in 5 minutes 503 for that version, the others serve",
            f"503 after 3 times, in {seconds * 1000:.0f} ms; the others answer",
        )
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert "Model killer is in quarantine: it was running whenever a worker ended" in answer.json["error"]
        (status,) = server.ask("GET", "/v1/models/killer").json["model_version_status"]
        assert (status["state"], status["status"]["error_code"]) == ("END", "ABORTED")
        assert ask(server, "half_plus_two", [1.0])[0].json == {"predictions": [[2.5]]}
        assert server.is_ready()
        assert server.ask("POST", "/v2/repository/models/killer/load").status == 200
        assert ask(server, "killer", 1)[0].json == {"predictions": [1]}

    @pytest.mark.faults
    def test_workers_that_are_killed_from_outside_put_nothing_in_quarantine(self, server: Server) -> None:
        with Load(server.port, predict("half_plus_two", [[1.0]]), 4):
            for _ in range(4):
                before = set(server.workers())
                os.kill(min(before), signal.SIGKILL)
                wait_for(lambda b=before: len(server.workers()) == 2 and b != set(server.workers()), "a new worker")
        assert ask(server, "half_plus_two", [1.0])[0].status == 200


class TestFailing:
    @pytest.mark.faults
    @pytest.mark.quick
    def test_a_model_that_fails_is_answered_clearly_and_goes_on(self, server: Server, held: Held) -> None:
        zero, large, fine = (ask(server, "raises", x)[0] for x in (0, 100, 7))
        nan = ask(server, "not_finite", 1.0)[0]
        held(
            "model that raises, model that returns NaN",
            "a clean error; NaN by SERVING_NON_FINITE",
            f"{zero.status} {zero.json['error'][:30]!r}, {large.status} {large.json['error'][:30]!r}; {nan.body!r}",
        )
        assert (zero.status, large.status, fine.status) == (400, 400, 200)
        for answer in (zero, large):
            assert "Traceback" not in answer.json["error"]
            assert ".py" not in answer.json["error"]
        assert nan.body == b'{"predictions":[[NaN,Infinity,-Infinity,1.0]]}'
