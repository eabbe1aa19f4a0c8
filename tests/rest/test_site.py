"""Health, readiness and metrics."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from serving.models.control import OrderFile, Quarantined
from serving.models.scanner import read_tree
from tests import saved_models
from tests.rest.api import error, post, predict, result, serve

PATHS = ["/metrics", "/monitoring/prometheus/metrics"]


def eventually(check: Callable[[], bool]) -> bool:
    """Whether the check holds within ten seconds; it is asked again and again."""
    deadline = time.monotonic() + 10
    while not (held := check()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


# Health and readiness.


def test_a_running_server_is_healthy(client: FlaskClient) -> None:
    assert result(client.get("/healthz")) == {"status": "ok"}


def test_a_server_with_all_its_models_is_ready(client: FlaskClient) -> None:
    assert result(client.get("/readyz")) == {"status": "ready"}


def test_a_model_that_failed_keeps_the_server_from_being_ready_until_it_is_mended(
    half_plus_two: Path, tmp_path: Path
) -> None:
    shutil.copytree(half_plus_two, tmp_path / "good")
    saved_models.half_plus_two(tmp_path / "bad" / "3")
    saved_models.garble(tmp_path / "bad" / "3" / "saved_model.pb")
    with serve(model_dir=tmp_path, model_poll_seconds=0.05) as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json is not None
        assert response.json["status"] == "not ready"
        assert list(response.json["models"]) == ["bad"]
        assert response.json["models"]["bad"].startswith("version 3 is END: ")
        assert client.get("/healthz").status_code == 200
        assert result(predict(client, "good", {"instances": [1.0]})) == {"predictions": [2.5]}
        said = error(predict(client, "bad", {"instances": [1.0]}), 404)
        assert said == "Servable not found for request: Latest(bad)"

        saved_models.half_plus_two(tmp_path / "bad" / "4")
        assert eventually(lambda: client.get("/readyz").status_code == 200)
        assert result(predict(client, "bad", {"instances": [1.0]})) == {"predictions": [2.5]}


def test_an_old_version_that_still_serves_is_ready_enough(tmp_path: Path) -> None:
    saved_models.half_plus_two(tmp_path / "1")
    saved_models.half_plus_two(tmp_path / "2")
    saved_models.garble(tmp_path / "2" / "saved_model.pb")
    with serve(model_dir=tmp_path) as client:
        assert result(client.get("/readyz")) == {"status": "ready"}


def test_a_server_that_is_about_to_end_is_not_ready_and_answers(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        client.application.extensions["leave"]("the server is stopping")
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json == {"status": "not ready", "models": {"": "the server is stopping"}}
        assert result(predict(client, "model", {"instances": [1.0]})) == {"predictions": [2.5]}


def test_a_version_in_quarantine_is_refused_and_the_server_ready(half_plus_two: Path, tmp_path: Path) -> None:
    for name in ("killer", "good"):
        shutil.copytree(half_plus_two, tmp_path / "models" / name)
    path = tmp_path / "models" / "killer" / "1"
    fingerprint = read_tree(path).fingerprint
    OrderFile(tmp_path / "shared" / "control").quarantine(Quarantined("killer", 1, fingerprint, "it ends workers"))
    settings = {"model_dir": tmp_path / "models", "runtime_dir": tmp_path / "shared", "allow_model_control": True}
    with serve(**settings, model_poll_seconds=0.05) as client:
        answer = predict(client, "killer", {"instances": [1.0]})
        assert error(answer, 503) == "Model killer is in quarantine: it ends workers"
        assert answer.headers["Retry-After"]
        assert result(predict(client, "good", {"instances": [1.0]})) == {"predictions": [2.5]}
        assert result(client.get("/readyz")) == {"status": "ready"}
        (status,) = result(client.get("/v1/models/killer"))["model_version_status"]
        assert status["status"] == {"error_code": "ABORTED", "error_message": "it ends workers"}
        its = {model["name"]: model["versions"] for model in result(client.get("/console/models"))["models"]}
        assert [version["quarantined"] for name in ("killer", "good") for version in its[name]] == [True, False]
        assert client.post("/v2/repository/models/killer/load").status_code == 200
        assert result(predict(client, "killer", {"instances": [1.0]})) == {"predictions": [2.5]}


def test_a_server_without_any_model_is_not_ready(tmp_path: Path) -> None:
    with serve(model_dir=tmp_path) as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json is not None
        assert response.json["models"]


@contextmanager
def beside(worker: dict[str, Any], settled: bool, models: Path, shared: Path) -> Iterator[FlaskClient]:
    """A client of a server one of whose workers, another than the one that answers, has these models."""
    (shared / "workers").mkdir(parents=True)
    said = json.dumps({"settled": settled, "models": worker})
    (shared / "workers" / f"{os.getppid()}.json").write_text(said)
    with serve(model_dir=models, runtime_dir=shared) as client:
        yield client


@pytest.mark.parametrize(
    ("worker", "settled"),
    [
        ({"model": [[2, "AVAILABLE", "OK", ""], [1, "UNLOADING", "OK", ""]]}, True),
        ({"model": [[2, "LOADING", "OK", ""], [1, "AVAILABLE", "OK", ""]]}, True),
        ({}, True),
        ({"model": [[1, "LOADING", "OK", ""]]}, False),
        ({}, False),
    ],
)
def test_workers_at_different_versions_or_not_yet_serving_leave_the_server_ready(
    half_plus_two: Path, tmp_path: Path, worker: dict[str, Any], settled: bool
) -> None:
    with beside(worker, settled, half_plus_two, tmp_path / "shared") as client:
        assert result(client.get("/readyz")) == {"status": "ready"}


def test_a_worker_that_serves_without_a_model_keeps_the_server_from_being_ready(
    half_plus_two: Path, tmp_path: Path
) -> None:
    worker = {"model": [[1, "END", "DATA_LOSS", "saved_model.pb is damaged"]]}
    with beside(worker, True, half_plus_two, tmp_path / "shared") as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json is not None
        assert response.json["models"] == {"model": "version 1 is END: saved_model.pb is damaged"}


def test_the_status_leaves_out_a_worker_that_has_not_settled(half_plus_two: Path, tmp_path: Path) -> None:
    with beside({"model": [[1, "LOADING", "OK", ""]]}, False, half_plus_two, tmp_path / "shared") as client:
        (status,) = result(client.get("/v1/models/model"))["model_version_status"]
        assert status["state"] == "AVAILABLE"


# Metrics.


def samples(client: FlaskClient, path: str = "/metrics") -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels, sorted."""
    text = client.get(path).text
    return {
        (sample.name, *(f"{label}={value}" for label, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(client: FlaskClient, act: Callable[[], Any]) -> dict[tuple[str, ...], float]:
    """What an action adds to each sample; what is no call of a model, such as the scrapes, is left out."""
    before = samples(client)
    act()
    after = samples(client)
    return {
        key: value - before.get(key, 0.0)
        for key, value in after.items()
        if value != before.get(key, 0.0) and "method=" not in key
    }


@pytest.mark.parametrize("path", PATHS)
def test_metrics_are_in_prometheus_text_on_both_paths(client: FlaskClient, path: str) -> None:
    predict(client, "half_plus_two", {"instances": [1.0]})
    response = client.get(path)
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain")
    assert "# TYPE serving_requests_total counter" in response.text
    counted = samples(client, path)
    assert counted["serving_requests_total", "method=predict", "model=half_plus_two", "status=200", "version=1"] > 0
    assert counted["serving_load_seconds_count", "model=half_plus_two"] > 0


def test_the_state_of_each_version_is_shown(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        counted = samples(client)
        assert counted["serving_model_state", "model=model", "state=AVAILABLE", "version=1"] == 1
        assert counted.get(("serving_model_state", "model=model", "state=LOADING", "version=1"), 0) == 0


@pytest.mark.parametrize("status", [200, 400])
def test_each_request_to_a_version_is_counted_with_its_status(client: FlaskClient, status: int) -> None:
    body = {"instances": [1.0] if status == 200 else ["x"]}

    def twice() -> None:
        assert predict(client, "times/versions/7", body).status_code == status
        assert predict(client, "times/versions/7", body).status_code == status

    added = grown(client, twice)
    key = ("serving_requests_total", "method=predict", "model=times", f"status={status}", "version=7")
    assert added[key] == 2
    assert added["serving_request_seconds_count", "method=predict", "model=times"] == 2
    assert added.get(("serving_run_seconds_count", "model=times", "version=7"), 0) == (2 if status == 200 else 0)


@pytest.mark.parametrize(
    ("verb", "body", "rows"),
    [
        ("predict", {"instances": [[1.0], [2.0], [3.0]], "signature_name": "float"}, 3),
        ("predict", {"inputs": 1, "signature_name": "float"}, 1),
        ("regress", {"examples": [{"x": 1.0}] * 5}, 5),
        ("classify", {"examples": [{"x": 1.0}] * 2, "signature_name": "classify"}, 2),
    ],
)
def test_the_rows_of_a_request_are_counted(client: FlaskClient, verb: str, body: Any, rows: int) -> None:
    model = "echo" if verb == "predict" else "examples"
    added = grown(client, lambda: result(post(client, f"{model}:{verb}", body)))
    assert added["serving_rows_sum", f"model={model}"] == rows
    assert added["serving_requests_total", f"method={verb}", f"model={model}", "status=200", "version=1"] == 1


def test_names_that_a_client_makes_up_are_no_labels(client: FlaskClient) -> None:
    def nonsense() -> None:
        for number in range(20):
            predict(client, f"made_up_{number}", {"instances": [1.0]})
            predict(client, f"times/versions/{1000 + number}", {"instances": [1.0]})
            client.get(f"/v1/models/made_up_{number}/metadata")
            client.get(f"/made_up_{number}")
            client.open(f"/v1/models/made_up_{number}", method=f"MADE{number}")

    added = grown(client, nonsense)
    assert added["serving_requests_total", "method=predict", "model=", "status=404", "version="] == 40
    text = client.get("/metrics").text
    assert "made_up" not in text
    assert "MADE" not in text
    assert 'version="10' not in text
