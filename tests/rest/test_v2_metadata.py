"""What the Open Inference Protocol tells: of the server, of a model, of what requests have cost; and wrong paths."""

import threading
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests import saved_models
from tests.rest.api import error, predict, result, serve
from tests.rest.v2 import half, infer, tensor

HALF = "half_plus_two"


def get(client: FlaskClient, path: str) -> Any:
    return result(client.get(f"/v2{path}"))


# Health.


def test_a_server_with_its_models_is_live_and_ready(client: FlaskClient) -> None:
    for path in ("/health/live", "/health/ready", "/health/ready?probe=1"):
        assert get(client, path) == {"live": True, "ready": True}


def test_a_server_without_models_is_live_and_not_ready(tmp_path: Path) -> None:
    with serve(model_dir=tmp_path) as client:
        assert get(client, "/health/live") == {"live": True, "ready": False}
        assert "no model was found" in error(client.get("/v2/health/ready"), 503)


# Metadata.


@pytest.mark.parametrize("path", ["", "/"])
def test_the_server_tells_its_name_version_and_extensions(client: FlaskClient, path: str) -> None:
    told = get(client, path)
    assert told["name"]
    assert told["version"]
    assert {"binary_tensor_data", "classification", "statistics", "model_configuration"} <= set(told["extensions"])
    assert "model_repository" not in told["extensions"]


def test_a_model_tells_its_versions_and_tensors(client: FlaskClient) -> None:
    assert get(client, "/models/several_inputs") == {
        "name": "several_inputs",
        "versions": ["1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "b", "datatype": "INT64", "shape": [-1]},
            {"name": "c", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "sum", "datatype": "FP32", "shape": [-1]},
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
        ],
    }


@pytest.mark.parametrize("path", ["/models/times", "/models/times/versions/7", "/models/times/versions/12"])
def test_all_versions_are_told_with_each_of_them(client: FlaskClient, path: str) -> None:
    assert get(client, path)["versions"] == ["7", "12"]


def test_a_name_is_percent_decoded(client: FlaskClient) -> None:
    assert get(client, "/models/old%20examples")["name"] == "old examples"


@pytest.mark.parametrize("path", ["/models/times/ready", "/models/times/versions/7/ready"])
def test_an_available_model_is_ready(client: FlaskClient, path: str) -> None:
    assert get(client, path) == {"name": "times", "ready": True}


def test_a_model_that_cannot_be_loaded_is_not_ready(tmp_path: Path) -> None:
    saved_models.half_plus_two(tmp_path / "bad" / "1")
    saved_models.truncate(tmp_path / "bad" / "1" / "saved_model.pb")
    with serve(model_dir=tmp_path) as client:
        assert "bad is not ready: version 1 is END" in error(client.get("/v2/models/bad/ready"), 503)


@pytest.mark.parametrize("what", ["", "/ready", "/config", "/stats"])
@pytest.mark.parametrize(("model", "named"), [("nobody", "nobody"), ("times/versions/99", "99")])
def test_a_model_that_is_not_there_is_named(client: FlaskClient, model: str, named: str, what: str) -> None:
    assert named in error(client.get(f"/v2/models/{model}{what}"), 404)


# Configuration.


def test_a_model_of_rows_has_a_batch_size_and_dimensions_without_it(client: FlaskClient) -> None:
    config = get(client, f"/models/{HALF}/versions/1/config")
    assert config["name"] == HALF
    assert config["max_batch_size"] > 1
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1], "optional": False}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}]


@pytest.mark.parametrize(("model", "dims"), [("several_inputs", [-1, 2]), ("times", [-1]), ("no_batch", [])])
def test_any_other_model_has_none_and_all_its_dimensions(client: FlaskClient, model: str, dims: list[int]) -> None:
    config = get(client, f"/models/{model}/config")
    assert config["max_batch_size"] == 0
    assert config["input"][0]["dims"] == dims


def test_bytes_are_strings_in_the_configuration(client: FlaskClient) -> None:
    config = get(client, "/models/several_inputs/config")
    assert [its["data_type"] for its in config["input"]] == ["TYPE_FP32", "TYPE_INT64", "TYPE_STRING"]


# Statistics.


def stats(client: FlaskClient, model: str) -> Any:
    (entry,) = get(client, f"/models/{model}/stats")["model_stats"]
    return entry


def test_requests_of_every_protocol_are_counted(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        before = stats(client, "model")
        assert (before["name"], before["version"], before["inference_count"]) == ("model", "1", 0)
        infer(client, "model", half(1, 2, 3))
        predict(client, "model", {"instances": [1.0, 2.0]})
        infer(client, "model", {"inputs": []})
        after = stats(client, "model")
        assert (after["inference_count"], after["execution_count"]) == (5, 2)
        assert after["last_inference"] > before["last_inference"]
        assert after["inference_stats"]["success"]["count"] == 2
        assert [batch["batch_size"] for batch in after["batch_stats"]] == [2, 3]


def test_the_time_of_a_request_is_the_sum_of_its_parts(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        infer(client, "model", half(1))
        parts = stats(client, "model")["inference_stats"]
        names = ("queue", "compute_input", "compute_infer", "compute_output")
        assert all(parts[name]["count"] == 1 for name in names)
        assert sum(parts[name]["ns"] for name in names) == parts["success"]["ns"]
        assert parts["compute_infer"]["ns"] > 0


def test_runs_that_fail_are_counted_apart(models: Path) -> None:
    with serve(model_dir=models / "raises") as client:
        infer(client, "model", {"inputs": [tensor("x", "INT32", [1], [100])]})
        counted = stats(client, "model")
        assert (counted["inference_count"], counted["execution_count"]) == (0, 0)
        assert counted["inference_stats"]["fail"]["count"] == 1
        assert counted["inference_stats"]["fail"]["ns"] > 0


def test_all_versions_of_all_models_can_be_asked_for_at_once(client: FlaskClient) -> None:
    told = [(entry["name"], entry["version"]) for entry in get(client, "/models/stats")["model_stats"]]
    assert {(HALF, "1"), ("times", "7"), ("times", "12")} <= set(told)
    assert len(set(told)) == len(told)


def test_nothing_is_lost_when_many_count_at_once(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        predict(client, "model", {"instances": [1.0]})

        def ask() -> None:
            own = client.application.test_client()
            for _ in range(50):
                infer(own, "model", half(1, 2))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counted = stats(client, "model")
        assert counted["inference_count"] == 401
        assert counted["inference_stats"]["success"]["count"] == 201


# Paths.


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/health",
        "/models",
        f"/models/{HALF}/nothing",
        f"/models/{HALF}/",
        f"/models/{HALF}/versions",
        f"/models/{HALF}/versions/1/nothing",
        "/systemsharedmemory/status",
        "/cudasharedmemory/status",
        "/logging",
        "/trace/setting",
        "/repository",
    ],
)
def test_a_path_that_means_nothing_is_not_found(client: FlaskClient, path: str) -> None:
    assert path in error(client.get(f"/v2{path}"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET, HEAD"),
        ("POST", "/v2/health/live", "GET, HEAD"),
        ("DELETE", f"/v2/models/{HALF}", "GET, HEAD"),
        ("POST", "/v2/models/stats", "GET, HEAD"),
        ("GET", "/v2/repository/index", "POST"),
        ("GET", f"/v2/repository/models/{HALF}/load", "POST"),
    ],
)
def test_another_method_is_refused_with_the_right_ones(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    answer = client.open(path, method=method)
    error(answer, 405)
    assert answer.headers["Allow"] == allowed


def test_the_quick_requests_of_both_protocols_are_the_same(half_plus_two: Path, models: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        is_quick = client.application.extensions["is_quick"]
        for path in (
            b"/v1/models/model:predict",
            b"/V1/Models/model/Versions/1:predict",
            b"/v2/models/model/infer",
            b"/v2/models/model/versions/1/infer?q",
        ):
            assert is_quick("POST", path, 100)
            assert not is_quick("POST", path, 400_000)
            assert not is_quick("POST", path.replace(b"/model/", b"/other/").replace(b"/model:", b"/other:"), 100)
        assert is_quick("GET", b"/v2/health/ready", 0)
        assert not is_quick("GET", b"/v2/models/model/stats", 0)
        assert not is_quick("POST", b"/v1/models/model:classify", 100)
