"""Status and metadata over HTTP, and the list of models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests import saved_models
from tests.rest.api import error, result, serve


def available(*versions: int) -> dict[str, Any]:
    status = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return {"model_version_status": [{"version": str(version), **status} for version in versions]}


# Status.


@pytest.mark.parametrize(
    ("path", "versions"),
    [
        ("half_plus_two", [1]),
        ("half_plus_two?verbose=1", [1]),
        ("old%20examples", [1]),
        ("times", [12, 7]),
        ("times/versions/7", [7]),
        ("times/versions/0007", [7]),
        ("times/labels/stable", [7]),
        ("times/labels/new%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D", [12]),
    ],
)
def test_status_tells_the_versions_newest_first(client: FlaskClient, path: str, versions: list[int]) -> None:
    assert result(client.get(f"/v1/models/{path}")) == available(*versions)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nobody", "Could not find any versions of model nobody"),
        ("metadata", "Could not find any versions of model metadata"),
        ("no%2Fbody", "Could not find any versions of model no/body"),
        ("nobody/labels/stable", "Could not find any versions of model nobody"),
        ("nobody/versions/5", "Could not find version 5 of model nobody"),
        ("times/versions/99", "Could not find version 99 of model times"),
        ("times/versions/8", "Could not find version 8 of model times"),
    ],
)
def test_the_status_of_what_is_not_there_is_not_found(client: FlaskClient, path: str, said: str) -> None:
    assert error(client.get(f"/v1/models/{path}"), 404) == said


def test_the_status_of_an_unknown_label_is_refused_as_predict_refuses_it(client: FlaskClient) -> None:
    assert error(client.get("/v1/models/times/labels/no")) == "Unrecognized servable version label: no"


def test_a_version_that_could_not_be_loaded_has_ended_with_its_reason(tmp_path: Path) -> None:
    saved_models.half_plus_two(tmp_path / "1")
    saved_models.half_plus_two(tmp_path / "2")
    saved_models.garble(tmp_path / "2" / "saved_model.pb")
    with serve(model_dir=tmp_path) as client:
        failed, good = result(client.get("/v1/models/model"))["model_version_status"]
        assert failed["version"] == "2"
        assert failed["state"] == "END"
        assert failed["status"]["error_code"] != "OK"
        assert failed["status"]["error_message"]
        assert str(tmp_path) not in failed["status"]["error_message"]
        assert {"model_version_status": [good]} == available(1)
        assert client.post("/v1/models/model:predict", data=b'{"instances": [1.0]}').headers["X-Model-Version"] == "1"


# Metadata.


def test_metadata_shows_name_version_and_signatures(client: FlaskClient) -> None:
    metadata = result(client.get("/v1/models/half_plus_two/metadata"))
    assert metadata["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    dims = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"] == {
        "x": {"dtype": "DT_FLOAT", "tensor_shape": dims, "name": signature["inputs"]["x"]["name"]}
    }
    assert signature["outputs"]["y"]["tensor_shape"] == dims
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}


def test_a_shape_of_unknown_rank_and_one_without_dimensions_differ(client: FlaskClient) -> None:
    echo = result(client.get("/v1/models/echo/metadata"))["metadata"]["signature_def"]["signature_def"]
    assert echo["int64"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert echo["int64"]["inputs"]["x"]["dtype"] == "DT_INT64"
    scalar = result(client.get("/v1/models/no_batch/metadata"))["metadata"]["signature_def"]["signature_def"]
    assert scalar["serving_default"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": False}


@pytest.mark.parametrize(
    ("path", "version"), [("times", "12"), ("times/versions/7", "7"), ("times/labels/stable", "7")]
)
def test_metadata_is_that_of_the_version_asked_for(client: FlaskClient, path: str, version: str) -> None:
    assert result(client.get(f"/v1/models/{path}/metadata"))["model_spec"]["version"] == version


# The list.


def test_the_list_names_each_model_with_its_versions_and_labels(client: FlaskClient) -> None:
    models = {model["name"]: model for model in result(client.get("/v1/models"))["models"]}
    assert list(models) == sorted(models)
    for model in models.values():
        del model["batching"], model["image_input"]
    assert models["half_plus_two"] == {"name": "half_plus_two", "version_labels": {}, **available(1)}
    assert models["times"] == {
        "name": "times",
        "version_labels": {"stable": 7, "new!#$%&'()*+,/:;=?@[]": 12},
        **available(12, 7),
    }


def test_the_list_says_how_the_signatures_of_each_version_are_batched_or_why_not(
    half_plus_two: Path, tmp_path: Path
) -> None:
    for version, parameters in (
        ("1", "max_batch_size { value: 4 } max_enqueued_batches { value: 256 }"),
        ("2", "max_batch_size { value: 1 }"),
    ):
        shutil.copytree(half_plus_two / "1", tmp_path / version)
        (tmp_path / version / "batching_params.pbtxt").write_text(parameters)
    policy = "model_version_policy { all {} }"
    config = tmp_path / "models.config"
    config.write_text(f'model_config_list {{ config {{ name: "half" base_path: "{tmp_path}" {policy} }} }}')
    with serve(model_config_file=config) as client:
        (model,) = result(client.get("/v1/models"))["models"]
        metadata = result(client.get("/v1/models/half/metadata"))
    batching = {version: its["serving_default"] for version, its in model["batching"].items()}
    assert batching == {
        "1": {
            "batched": True,
            "max_rows": 4,
            "max_waiting_rows": 1024,
            "delay_ms": 0.0,
            "allowed_sizes": [],
            "pad_lengths": False,
            "splits": False,
        },
        "2": {"batched": False, "reason": "its batching parameters allow one row only"},
    }
    assert metadata.keys() == {"model_spec", "metadata"}  # clients parse it strictly


def test_every_model_of_the_list_has_metadata(client: FlaskClient) -> None:
    for model in json.loads(client.get("/v1/models").data)["models"]:
        assert result(client.get(f"/v1/models/{model['name']}/metadata"))["model_spec"]["name"] == model["name"]
