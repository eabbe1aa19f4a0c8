"""The model repository over the Open Inference Protocol: the index, and loading and unloading by hand."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests import saved_models
from tests.rest.api import error, predict, result, serve
from tests.rest.v2 import half, infer

INDEX = "/v2/repository/index"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model directory with two models."""
    saved_models.half_plus_two(tmp_path / "half" / "1")
    saved_models.scale(tmp_path / "twice" / "1", 2.0)
    return tmp_path


@pytest.fixture
def controlled(folder: Path) -> Iterator[FlaskClient]:
    """A client of an app that lets its models be loaded and unloaded."""
    with serve(model_dir=folder, allow_model_control=True) as client:
        yield client


def control(client: FlaskClient, model: str, verb: str, body: Any = b"") -> TestResponse:
    return client.post(f"/v2/repository/models/{model}/{verb}", data=body)


def done(response: TestResponse) -> bool:
    """Whether an order was carried out, which is answered with nothing."""
    return response.status_code == 200 and response.data == b""


def states(client: FlaskClient, body: bytes = b"") -> dict[str, tuple[str, str, str]]:
    entries = result(client.post(INDEX, data=body))
    assert all(entry.keys() == {"name", "version", "state", "reason"} for entry in entries)
    return {entry["name"]: (entry["version"], entry["state"], entry["reason"]) for entry in entries}


READY = ("1", "READY", "")
UNLOADED = ("1", "UNAVAILABLE", "unloaded")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": true}', b'{"ready": null, "other": 1}'])
def test_the_index_lists_what_is_served(controlled: FlaskClient, body: bytes) -> None:
    assert states(controlled, body) == {"half": READY, "twice": READY}


@pytest.mark.parametrize("body", [b'{"ready": "x"}', b'{"ready": 1}', b"[]", b"{"])
def test_an_index_request_that_is_none_is_refused(controlled: FlaskClient, body: bytes) -> None:
    error(controlled.post(INDEX, data=body))


def test_the_index_says_why_a_model_is_not_served(folder: Path) -> None:
    saved_models.truncate(folder / "half" / "1" / "saved_model.pb")
    with serve(model_dir=folder) as client:
        version, state, reason = states(client)["half"]
        assert (version, state) == ("1", "UNAVAILABLE")
        assert reason not in ("", "unloaded")
        assert states(client, b'{"ready": true}') == {"twice": READY}


def test_an_unloaded_model_is_gone_from_every_protocol_and_the_rest_stays(controlled: FlaskClient) -> None:
    assert done(control(controlled, "half", "unload"))
    assert "half" in error(infer(controlled, "half", half(1)), 404)
    assert "half" in error(predict(controlled, "half", {"instances": [1.0]}), 404)
    assert "half" in error(controlled.get("/v2/models/half"), 404)
    assert "half" in error(controlled.get("/v2/models/half/ready"), 404)
    assert states(controlled) == {"half": UNLOADED, "twice": READY}
    assert states(controlled, b'{"ready": true}') == {"twice": READY}
    assert result(predict(controlled, "twice", {"instances": [1.0]})) == {"predictions": [2.0]}


def test_a_server_stays_ready_when_a_model_is_unloaded(controlled: FlaskClient) -> None:
    assert done(control(controlled, "half", "unload"))
    assert result(controlled.get("/v2/health/ready"))["ready"]
    assert result(controlled.get("/readyz")) == {"status": "ready"}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"parameters": {"unload_dependents": true}}'])
def test_a_model_comes_back_when_it_is_loaded(controlled: FlaskClient, body: bytes) -> None:
    assert done(control(controlled, "half", "unload", body))
    assert done(control(controlled, "half", "load"))
    assert result(infer(controlled, "half", half(1)))["outputs"][0]["data"] == [2.5]
    assert states(controlled) == {"half": READY, "twice": READY}


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_the_same_order_twice_changes_nothing(controlled: FlaskClient, verb: str) -> None:
    assert done(control(controlled, "half", verb))
    before = states(controlled)
    assert done(control(controlled, "half", verb))
    assert states(controlled) == before


def test_a_load_looks_at_the_disk_anew(controlled: FlaskClient, folder: Path) -> None:
    saved_models.scale(folder / "new" / "3", 3.0)
    saved_models.scale(folder / "half" / "2", 4.0)
    assert done(control(controlled, "new", "load"))
    assert result(predict(controlled, "new", {"instances": [1.0]})) == {"predictions": [3.0]}
    assert done(control(controlled, "half", "load"))
    assert result(predict(controlled, "half", {"instances": [1.0]})) == {"predictions": [4.0]}


def test_a_model_that_cannot_be_loaded_is_an_error_that_says_why(controlled: FlaskClient, folder: Path) -> None:
    assert done(control(controlled, "half", "unload"))
    saved_models.truncate(folder / "half" / "1" / "saved_model.pb")
    assert "Model half cannot be loaded: " in error(control(controlled, "half", "load"), 503)


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_a_model_that_is_not_there_is_named(controlled: FlaskClient, verb: str) -> None:
    assert "nobody" in error(control(controlled, "nobody", verb), 404)
    assert states(controlled) == {"half": READY, "twice": READY}


def test_a_model_that_has_gone_from_the_disk_cannot_be_loaded(controlled: FlaskClient, folder: Path) -> None:
    assert done(control(controlled, "half", "unload"))
    shutil.rmtree(folder / "half")
    assert "half" in error(control(controlled, "half", "load"), 404)


@pytest.mark.parametrize("parameters", ['{"config": "{}"}', '{"file:1/model": ""}', "[]"])
def test_a_load_that_would_change_the_model_is_refused(controlled: FlaskClient, parameters: str) -> None:
    error(control(controlled, "half", "load", f'{{"parameters": {parameters}}}'))


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_nobody_may_load_or_unload_unless_that_is_allowed(client: FlaskClient, verb: str) -> None:
    assert "SERVING_ALLOW_MODEL_CONTROL=true" in error(control(client, "half_plus_two", verb), 403)
    assert result(infer(client, "half_plus_two", half(1)))["outputs"][0]["data"] == [2.5]


def test_the_extension_is_announced_where_it_works(controlled: FlaskClient) -> None:
    assert "model_repository" in result(controlled.get("/v2"))["extensions"]
