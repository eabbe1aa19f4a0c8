"""The server as users run it: a process, its port, its signals, its workers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.models.runtime import NICENESS
from tests import saved_models
from tests.conftest import Held
from tests.server import ROOT, Answer, Load, Server, environment, free_port, gunicorn, memory, serving, wait_for

TIMES_2 = [4.0, 6.0]


def publish(model: Path, version: int, factor: float) -> None:
    """Let a version appear by rename, as a careful user would."""
    draft = model.parent / f".draft-{model.name}-{version}"
    saved_models.scale(draft, factor)
    model.mkdir(parents=True, exist_ok=True)
    draft.rename(model / str(version))


def version_is(server: Server, model: str, version: int, state: str) -> bool:
    """Whether all workers agree that a version is in a state."""
    answer = server.ask("GET", f"/v1/models/{model}/versions/{version}")
    return answer.status == 200 and answer.json["model_version_status"][0]["state"] == state


def times_version(value: float, answer: Answer) -> str:
    """What is wrong with an answer of a model whose versions multiply by their numbers."""
    if answer.status != 200:
        return f"{answer.status}: {answer.body[:200]!r}"
    version = int(answer.headers["x-model-version"])
    expected = float(np.float32(value * version))
    return "" if answer.json["predictions"] == [expected] else f"{value} x {version}: {answer.body!r}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    publish(models / "times", 2, 2.0)
    return models


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the workers of `server` share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def server(models: Path, shared: Path) -> Iterator[Server]:
    settings = {"SERVING_MODEL_DIR": models, "SERVING_RUNTIME_DIR": shared, "SERVING_MODEL_POLL_SECONDS": 0.2}
    with serving(shared / "log", gunicorn(), WEB_CONCURRENCY=2, **settings) as server:
        yield server


class TestServing:
    def test_it_answers_predictions_and_says_which_version_ran(self, server: Server) -> None:
        answer = server.ask("POST", "/v1/models/times:predict", {"instances": [2.0, 3.0]})
        assert answer.json == {"predictions": TIMES_2}
        assert answer.headers["x-model-version"] == "2"
        assert answer.headers["x-request-id"]

    def test_threads_that_compute_stand_back_behind_the_event_loop(self, server: Server) -> None:
        for worker in server.workers():
            places = Path(f"/proc/{worker}/task").iterdir()
            compute = [int(place.name) for place in places if (place / "comm").read_text() == "tf_Compute\n"]
            loop = os.getpriority(os.PRIO_PROCESS, worker)
            assert compute
            assert {os.getpriority(os.PRIO_PROCESS, number) for number in compute} == {min(19, loop + NICENESS)}

    def test_chunked_bodies_are_read(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"POST /v1/models/times:predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\na\r\n"
                b'{"instance\r\n10\r\ns": [2.0, 3.0] }\r\n0\r\n\r\n'
            )
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b'{"predictions":[4.0,6.0]}')

    @pytest.mark.parametrize("chunk", [b"zz\r\n{}\r\n0\r\n\r\n", b"1\r\n{}\r\n0\r\n\r\n"])
    def test_malformed_chunks_are_the_clients_mistake(self, server: Server, chunk: bytes) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"POST /v1/models/times:predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                + chunk
            )
            assert connection.recv(65536).startswith(b"HTTP/1.1 400")

    def test_metrics_count_what_all_workers_answered(self, server: Server) -> None:
        def answered() -> float:
            text = server.ask("GET", "/metrics").body.decode()
            line = 'serving_requests_total{method="classify",model="times",status="400",version="2"} '
            return sum(float(row.removeprefix(line)) for row in text.splitlines() if row.startswith(line))

        before = answered()
        for _ in range(40):
            server.ask("POST", "/v1/models/times:classify", {"examples": [{"x": 1.0}]})
        wait_for(lambda: answered() >= before + 40, "every worker has counted what it answered")
        assert answered() == before + 40

    def test_a_broken_metrics_file_does_not_hide_the_others(self, server: Server, shared: Path) -> None:
        def all_show_the_model() -> bool:
            answer = server.ask("GET", "/monitoring/prometheus/metrics")
            assert answer.status == 200
            return b'serving_model_state{model="times",state="AVAILABLE",version="2"} 2.0' in answer.body

        (shared / "metrics" / "counter_999999.db").touch()
        wait_for(all_show_the_model, "both workers show the model")

    def test_a_killed_worker_is_replaced_and_the_others_go_on(self, server: Server) -> None:
        before = set(server.workers())
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(server.workers()) == 2 and set(server.workers()) != before, "a new worker")
        assert server.ask("GET", "/metrics").status == 200
        assert server.ask("POST", "/v1/models/times:predict", {"instances": [2.0, 3.0]}).json == {
            "predictions": TIMES_2
        }
        wait_for(lambda: version_is(server, "times", 2, "AVAILABLE"), "the new worker has the model")

    def test_a_corrupt_version_shows_why_and_the_good_one_serves(self, server: Server, models: Path) -> None:
        saved_models.scale(models / ".bad", 9.0)
        saved_models.truncate(models / ".bad" / "saved_model.pb")
        (models / ".bad").rename(models / "times" / "9")
        wait_for(lambda: version_is(server, "times", 9, "END"), "the corrupt version ends")
        status = server.ask("GET", "/v1/models/times/versions/9").json["model_version_status"][0]["status"]
        assert status["error_code"] != "OK"
        assert "saved_model.pb" in status["error_message"]
        assert server.ask("POST", "/v1/models/times:predict", {"instances": [2.0]}).headers["x-model-version"] == "2"
        shutil.rmtree(models / "times" / "9")

    def test_versions_are_swapped_under_load_without_a_failed_request(self, server: Server, models: Path) -> None:
        load = swap_under_load(server, models / "swapped", swaps=3)
        assert load.wrong == []
        assert load.answered > 3

    @pytest.mark.faults
    def test_versions_are_swapped_fifty_times_under_load(self, server: Server, models: Path, held: Held) -> None:
        load = swap_under_load(server, models / "swapped_often", swaps=50)
        held(
            "50 version swaps under load",
            "0 failures; every answer is the one of the version its header names",
            f"{len(load.wrong)} of {load.answered} answers wrong",
        )
        assert load.wrong == []
        assert load.answered > 50


def swap_under_load(server: Server, model: Path, swaps: int) -> Load:
    """Let version after version appear, each multiplying by its number, and remove the one before."""

    publish(model, 1, 1.0)
    wait_for(lambda: version_is(server, model.name, 1, "AVAILABLE"), "the first version")
    with Load(server, model.name, clients=8, check=times_version) as load:
        for version in range(2, swaps + 2):
            publish(model, version, float(version))
            shutil.rmtree(model / str(version - 1))
            wait_for(lambda v=version: version_is(server, model.name, v, "AVAILABLE"), f"version {version}")
    return load


class TestStartAndStop:
    @pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
    def test_it_stops_cleanly_and_removes_what_the_workers_shared(
        self, models: Path, tmp_path: Path, with_signal: int
    ) -> None:
        (tmp_path / "tmp").mkdir()
        settings: dict[str, Any] = {"SERVING_MODEL_DIR": models, "WEB_CONCURRENCY": 1, "TMPDIR": tmp_path / "tmp"}
        with serving(tmp_path / "log", **settings) as server:
            assert list((tmp_path / "tmp").glob("serving-*"))
            assert server.stop(with_signal) == 0
            assert "Traceback" not in server.log.read_text()
        assert not list((tmp_path / "tmp").glob("serving-*"))

    def test_nothing_is_said_about_cuda_without_a_gpu(self, server: Server) -> None:
        text = server.log.read_text()
        assert "runs models on CPU" in text
        assert "cuda" not in text.lower()

    def test_a_new_configuration_keeps_what_the_workers_share_until_the_end(self, models: Path, tmp_path: Path) -> None:
        (tmp_path / "tmp").mkdir()
        settings: dict[str, Any] = {"SERVING_MODEL_DIR": models, "WEB_CONCURRENCY": 1, "TMPDIR": tmp_path / "tmp"}
        command = [sys.executable, "-m", "serving", "serve"]
        with serving(tmp_path / "log", command, **settings) as server:
            (shared,) = (tmp_path / "tmp").glob("serving-*")
            (before,) = server.workers()
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: server.workers() not in ([], [before]) and before not in server.workers(), "a new worker")
            (after,) = server.workers()
            wait_for(lambda: [file.name for file in (shared / "workers").iterdir()] == [f"{after}.json"], "its file")
            wait_for(server.is_ready, "the new worker serves")
            server.stop()
        assert not list((tmp_path / "tmp").glob("serving-*"))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"SERVING_MODEL_DIR": "/nowhere"}, "Error: model directory /nowhere does not exist"),
            ({"SERVING_MODELS": "/models"}, "Error: SERVING_MODELS is not a setting; did you mean"),
            ({"SERVING_THREADS": "many"}, "Error: SERVING_THREADS='many' cannot be used"),
            ({"SERVING_MODEL_CONFIG_FILE": "/nowhere/c"}, "Error: /nowhere/c: cannot be read"),
            ({"SERVING_RUNTIME_DIR": "/dev/null"}, "Error: SERVING_RUNTIME_DIR='/dev/null' cannot be used"),
        ],
    )
    def test_it_refuses_to_start_with_one_line(self, settings: dict[str, str], message: str) -> None:
        ended = refused(settings)
        assert ended.returncode != 0
        (line,) = ended.stderr.splitlines()
        assert line.startswith(message)

    def test_it_refuses_a_taken_port_with_one_line(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = refused({"PORT": str(port), "TMPDIR": str(tmp_path)})
        assert ended.returncode != 0
        (line,) = [line for line in ended.stderr.splitlines() if "INFO" not in line]
        assert line.startswith(f"Error: cannot listen on 127.0.0.1 port {port} (Address already in use)")
        assert not list(tmp_path.glob("serving-*"))

    def test_a_config_file_that_breaks_later_does_not_stop_new_workers(self, models: Path, tmp_path: Path) -> None:
        config = tmp_path / "models.config"
        config.write_text(f'model_config_list {{ config {{ name: "m" base_path: "{models / "times"}" }} }}')
        with serving(tmp_path / "log", SERVING_MODEL_CONFIG_FILE=config, WEB_CONCURRENCY=1) as server:
            config.write_text("model_config_list {")
            before = server.workers()
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda: server.workers() not in ([], before), "a new worker")
            wait_for(server.is_ready, "the new worker serves")

    def test_flask_run_serves_too(self, models: Path, tmp_path: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "flask", "--app", "app.py", "run", "--port", str(port)]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(SERVING_MODEL_DIR=models), stdout=log, stderr=log
            )
        server = Server(process, port, tmp_path / "log")
        try:
            wait_for(server.is_ready, "flask serves", 120)
            answer = server.ask("POST", "/v1/models/times:predict", {"instances": [2.0, 3.0]})
            assert answer.json == {"predictions": TIMES_2}
        finally:
            server.stop()


def refused(settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """A start that should end by itself, soon."""
    return subprocess.run(
        gunicorn(), cwd=ROOT, env=environment(**settings), capture_output=True, text=True, timeout=30, check=False
    )


def test_a_binary_tensor_of_16_megabytes_costs_less_than_30_of_memory(tmp_path: Path) -> None:
    saved_models.total(tmp_path / "models" / "1")
    elements = 4_000_000
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": [elements],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 4 * elements},
                }
            ]
        }
    ).encode()
    body = head + bytes(4 * elements)
    settings: dict[str, Any] = {"SERVING_MODEL_DIR": tmp_path / "models", "WEB_CONCURRENCY": 1}
    with serving(tmp_path / "log", **settings) as server:
        (worker,) = server.workers()

        def ask() -> None:
            answer = server.ask("POST", "/v2/models/model/infer", body, Inference_Header_Content_Length=str(len(head)))
            assert answer.json["outputs"][0]["data"] == [0.0]

        ask()
        Path(f"/proc/{worker}/clear_refs").write_text("5")  # from here on the peak is counted anew
        before = memory(worker, "VmRSS")
        ask()
        assert memory(worker, "VmHWM") - before < 30e6
