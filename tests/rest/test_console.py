"""What the console asks the server, and who gets its page."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.rest.activity import activity
from tests import saved_models
from tests.rest.api import error, post, predict, result, serve

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FILES = Path(__file__).parent.parent.parent / "serving" / "console"


def listed(client: FlaskClient, model: str) -> dict[str, Any]:
    return next(its for its in result(client.get("/console/models"))["models"] if its["name"] == model)


def details(client: FlaskClient, model: str, version: int, signature: str) -> dict[str, Any]:
    found = result(client.get(f"/console/models/{model}/versions/{version}"))
    return next(its for its in found["signatures"] if its["name"] == signature)


# The page.


def test_a_browser_gets_the_page_and_others_what_they_got_before(client: FlaskClient) -> None:
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Accept" in page.headers["Vary"]
    assert error(client.get("/"), 404) == "Malformed request: GET /"


def test_the_page_may_load_and_ask_nothing_but_the_server(client: FlaskClient) -> None:
    policy = client.get("/", headers=HTML).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';")
    assert "unsafe" not in policy


def test_every_module_is_there_and_fetched_at_once(client: FlaskClient) -> None:
    page = client.get("/", headers=HTML).text
    for file in FILES.iterdir():
        assert client.get(f"/console/{file.name}").status_code == 200
        assert file.suffix != ".js" or f'"console/{file.name}"' in page


def test_the_console_can_be_turned_off(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two, console=False) as client:
        assert client.get("/", headers=HTML).status_code == 404
        assert client.get("/console/models").status_code == 404
        assert client.get("/openapi.json").status_code == 200


# The models.


def test_each_version_is_listed_with_its_state_and_size(client: FlaskClient, models: Path) -> None:
    (newest, oldest) = listed(client, "times")["versions"]
    folder = models / "times" / "12"
    assert newest == {
        "version": "12",
        "state": "AVAILABLE",
        "error": "",
        "quarantined": False,
        "is_latest": True,
        "labels": ["new!#$%&'()*+,/:;=?@[]"],
        "size_bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "signatures": ["serving_default"],
    }
    assert (oldest["version"], oldest["is_latest"], oldest["labels"]) == ("7", False, ["stable"])


def test_a_version_that_failed_is_listed_with_the_reason(tmp_path: Path) -> None:
    saved_models.half_plus_two(tmp_path / "1")
    saved_models.garble(tmp_path / "1" / "saved_model.pb")
    with serve(model_dir=tmp_path) as client:
        (version,) = listed(client, "model")["versions"]
    assert version["state"] == "END"
    assert "saved_model.pb" in version["error"]
    assert "signatures" not in version


def test_the_details_say_how_many_values_a_request_holds(client: FlaskClient) -> None:
    holds = result(client.get("/console/models/half_plus_two/versions/1"))["most_values"]
    assert 2**24 / 16 < holds < 2**24 / 8  # values of 8 to 16 characters in 16 MiB


def test_the_details_of_a_signature_are_what_a_form_needs(client: FlaskClient) -> None:
    assert details(client, "half_plus_two", 1, "serving_default") == {
        "name": "serving_default",
        "methods": ["predict"],
        "has_rows": True,
        "inputs": [{"name": "x", "dtype": "float", "kind": "decimal", "shape": [None, 1]}],
        "outputs": [{"name": "y", "dtype": "float", "kind": "decimal", "shape": [None, 1]}],
        "features": [],
        "sample": {"x": [[-0.91]]},
        "example": None,
        "is_warm": False,
    }


def test_a_signature_that_takes_examples_has_its_features(client: FlaskClient) -> None:
    classify = details(client, "examples", 1, "classify")
    assert classify["methods"] == ["predict", "classify"]
    assert {"name": "x", "dtype": "float", "kind": "decimal", "shape": [1]} in classify["features"]
    assert set(classify["example"]) == {"count", "tags", "weights", "x", "y"}


@pytest.mark.parametrize("path", ["times/versions/8", "absent/versions/1"])
def test_a_version_that_is_not_loaded_has_no_details(client: FlaskClient, path: str) -> None:
    error(client.get(f"/console/models/{path}"), 404)


# The activity.


def test_what_was_answered_is_counted(client: FlaskClient) -> None:
    before = result(client.get("/console/activity")).get("times", {"requests": {}, "rows": {"count": 0, "sum": 0}})
    predict(client, "times/versions/7", {"instances": [1.0, 2.0]})
    post(client, "times/versions/7:predict", {"instances": ["x"]})
    client.get("/v1/models/times/versions/7")
    after = result(client.get("/console/activity"))["times"]
    counts = {
        status: after["requests"]["7"].get(status, 0) - before["requests"].get("7", {}).get(status, 0)
        for status in ("200", "400")
    }
    assert counts == {"200": 1, "400": 1}
    assert after["rows"]["sum"] - before["rows"]["sum"] == 2
    assert after["run_seconds"]["7"]["count"] == after["run_seconds"]["7"]["buckets"][-1][1]


class Sample:
    def __init__(self, name: str, value: float, **labels: str) -> None:
        self.name, self.value, self.labels = name, value, labels


def test_histograms_of_several_methods_are_one(client: FlaskClient) -> None:
    samples = [
        Sample(f"serving_request_seconds_{part}", value, model="m", method=method, **labels)
        for method in ("predict", "infer")
        for part, value, labels in (
            ("bucket", 1, {"le": "0.1"}),
            ("bucket", 2, {"le": "1.0"}),
            ("bucket", 3, {"le": "+Inf"}),
            ("count", 3, {}),
            ("sum", 4.5, {}),
        )
    ]
    looks = [Sample("serving_request_seconds_count", 7, model="m", method="")]
    assert activity([*samples, *looks])["m"]["request_seconds"] == {
        "count": 6,
        "sum": 9.0,
        "buckets": [(0.1, 2), (1.0, 4)],
    }


def test_requests_that_name_no_model_are_nobodys() -> None:
    assert activity([Sample("serving_requests_total", 3, model="", version="", method="predict", status="404")]) == {}
