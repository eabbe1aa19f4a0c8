"""The OpenAPI document: valid, true to what is loaded, and its examples work."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from serving.models.about import About
from serving.models.signature import Signature
from serving.rest.loaded import LoadedVersion
from serving.rest.openapi.document import build
from serving.settings import Settings
from serving.tensors.spec import TensorSpec
from tests import saved_models
from tests.rest.api import result, serve
from tests.server import wait_for

REFUSED = {
    "/v1/models/passthrough:predict": {"same_input, inputs", "same_input, instances"},
    "/v1/models/examples:regress": {"regress_int, examples", "regress_pairs, examples"},
    "/v1/models/old%20examples:regress": {"regress_int, examples", "regress_pairs, examples"},
    "/v2/models/passthrough/infer": {"same_input"},
    "/v2/models/bytes_output/infer": {"serving_default"},
}
"""Examples to signatures made to be refused, whatever is sent to them; in v2's JSON also those that answer bytes."""


@pytest.fixture(scope="module")
def document(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = result(client.get("/openapi.json"))
    return found


def runs(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation that takes a body, with its path."""
    for path, item in document["paths"].items():
        if "requestBody" in item.get("post", {}):
            yield path, item["post"]


def examples(operation: dict[str, Any]) -> dict[str, Any]:
    given = operation["requestBody"]["content"]["application/json"].get("examples", {})
    return {name: example["value"] for name, example in given.items()}


def fits(document: dict[str, Any], schema: Any, value: Any) -> bool:
    """Whether a value is what a schema of the document says."""
    whole = {**schema, "components": document["components"]}
    return bool(Draft202012Validator(whole).is_valid(value))


def request_schema(operation: dict[str, Any]) -> Any:
    return operation["requestBody"]["content"]["application/json"]["schema"]


def answer_schema(operation: dict[str, Any]) -> Any:
    return operation["responses"]["200"]["content"]["application/json"]["schema"]


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1.")


def test_every_example_works_and_is_described(client: FlaskClient, document: dict[str, Any]) -> None:
    refused: dict[str, set[str]] = {}
    sent = 0
    for path, operation in runs(document):
        for name, example in examples(operation).items():
            response = client.post(path, data=json.dumps(example))
            assert fits(document, request_schema(operation), example), (path, name)
            if response.status_code != 200:
                refused.setdefault(path.replace("/versions/1", ""), set()).add(name)
                continue
            sent += 1
            assert fits(document, answer_schema(operation), json.loads(response.data)), (path, name, response.text)
    assert refused == REFUSED
    assert sent > 100


def test_every_signature_that_can_be_called_has_an_example(client: FlaskClient, document: dict[str, Any]) -> None:
    operations = dict(runs(document))
    metadata = result(client.get("/v1/models/echo/metadata"))["metadata"]["signature_def"]["signature_def"]
    named = {name.partition(",")[0] for name in examples(operations["/v1/models/echo:predict"])}
    assert named == set(metadata) - {"__saved_model_init_op"}
    assert set(examples(operations["/v1/models/counter:predict"])) == {
        "get, inputs", "increment, inputs", "increment_by, inputs", "reset, inputs", "serving_default, inputs",
    }  # fmt: skip


def test_each_version_and_label_has_a_path(document: dict[str, Any]) -> None:
    found = {path for path in document["paths"] if path.startswith("/v1/models/times") and path.endswith(":predict")}
    assert found == {
        "/v1/models/times:predict",
        "/v1/models/times/versions/12:predict",
        "/v1/models/times/versions/7:predict",
        "/v1/models/times/labels/stable:predict",
        "/v1/models/times/labels/new%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D:predict",
    }


@pytest.mark.parametrize(
    ("model", "body", "described"),
    [
        ("half_plus_two", {"instances": [[1.0], [2]]}, True),
        ("half_plus_two", {"instances": [{"x": [1.0]}]}, True),
        ("half_plus_two", {"inputs": [[1.0]]}, True),
        ("half_plus_two", {"instances": [[1.0, 2.0]]}, False),
        ("half_plus_two", {"instances": [["1"]]}, False),
        ("half_plus_two", {}, False),
        ("several_inputs", {"instances": [{"a": [1.0, 2.0], "b": 1, "c": {"b64": "AA=="}}]}, True),
        ("several_inputs", {"instances": [{"a": [1.0, 2.0], "b": 1.5, "c": "x"}]}, False),
        ("several_inputs", {"inputs": {"a": [[1.0, 2.0]], "b": [1]}}, False),
        ("echo", {"signature_name": "uint8", "inputs": [[[255]]]}, True),
        ("echo", {"signature_name": "uint8", "inputs": 256}, False),
        ("echo", {"signature_name": "bool", "inputs": True}, True),
        ("echo", {"signature_name": "none of these", "inputs": 1}, False),
        ("no_batch", {"inputs": 3.0}, True),
        ("no_batch", {"signature_name": "matrix", "inputs": [[1, 2, 3]] * 3}, True),
        ("no_batch", {"signature_name": "matrix", "inputs": [[1, 2, 3]] * 2}, False),
    ],
)
def test_a_request_is_typed_by_its_signature(
    document: dict[str, Any], model: str, body: dict[str, Any], described: bool
) -> None:
    schema = request_schema(document["paths"][f"/v1/models/{model}:predict"]["post"])
    assert fits(document, schema, body) is described


def test_every_example_of_a_table_works(client: FlaskClient, document: dict[str, Any]) -> None:
    sent = 0
    for path, operation in runs(document):
        content = operation["requestBody"]["content"].get("text/csv", {})
        for name, example in content.get("examples", {}).items():
            answer = client.post(path, data=example["value"], content_type="text/csv")
            refused = name in {each.partition(",")[0] for each in REFUSED.get(path, ())}
            assert answer.status_code == (400 if refused else 200), (path, answer.text)
            sent += 1
    assert sent > 10


def test_other_media_types_are_described_where_a_signature_fits_them(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "1", 1.0, shape=(None, 2, 3))
    (tmp_path / "1" / "image_input.json").write_text('{"color": "gray"}')
    with serve(model_dir=tmp_path) as client:
        document = result(client.get("/openapi.json"))
    validate(document)
    operation = document["paths"]["/v1/models/model:predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "application/json", "application/x-npy", "image/jpeg", "image/png", "multipart/form-data",
    }  # fmt: skip
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "application/x-npy"}
    assert "406" in operation["responses"]


def test_the_signature_for_other_media_types_is_a_parameter(document: dict[str, Any]) -> None:
    paths = document["paths"]
    (parameter,) = paths["/v1/models/several_signatures:predict"]["post"]["parameters"]
    assert (parameter["name"], parameter["in"]) == ("signature_name", "query")
    assert set(parameter["schema"]["enum"]) == {"serving_default", "negate", "halve"}
    assert paths["/v1/models/half_plus_two:predict"]["post"]["parameters"] == []


def test_an_example_is_taken_from_the_warm_up_data(tmp_path: Path) -> None:
    saved_models.several_inputs(tmp_path / "1")
    strings = np.array([b"warm", b"up"], object)
    saved_models.write_warmup(
        tmp_path / "1", {"a": np.float32([[0.1, 3], [4, 5]]), "b": np.array([6, 7]), "c": strings}
    )
    with serve(model_dir=tmp_path) as client:
        operation = result(client.get("/openapi.json"))["paths"]["/v1/models/model:predict"]["post"]
    assert examples(operation) == {
        "serving_default, instances": {"instances": [{"a": [0.1, 3.0], "b": 6, "c": "warm"}]},
        "serving_default, inputs": {"inputs": {"a": [[0.1, 3.0]], "b": [6], "c": ["warm"]}},
    }


def test_a_server_without_models_has_a_valid_document(tmp_path: Path) -> None:
    with serve(model_dir=tmp_path) as client:
        document = result(client.get("/openapi.json"))
    validate(document)
    assert "/healthz" in document["paths"]


def test_fixed_answers_are_as_described(client: FlaskClient, document: dict[str, Any]) -> None:
    for path in (
        "/v1/models",
        "/healthz",
        "/readyz",
        "/v1/models/{model}",
        "/v1/models/{model}/metadata",
        "/v1/models/{model}/versions/{version}",
        "/v1/models/{model}/versions/{version}/metadata",
    ):
        answer = result(client.get(path.format(model="times", version=7)))
        assert fits(document, answer_schema(document["paths"][path]["get"]), answer), path


# The Open Inference Protocol.


@pytest.fixture(scope="module")
def inference_protocol() -> dict[str, Any]:
    """The document of one version with two signatures, of that protocol alone."""
    x, words = TensorSpec("x", "DT_FLOAT", (None, 2)), TensorSpec("words", "DT_STRING", (None,))
    signatures = {
        "serving_default": Signature("serving_default", {"x": x}, {"y": x}, ""),
        "count": Signature("count", {"words": words}, {"n": TensorSpec("n", "DT_INT64", (None,))}, ""),
    }
    version = LoadedVersion("m", 3, True, (), signatures, {name: {} for name in signatures}, About())
    return build([version], {"v2"}, Settings())


def test_the_inference_protocol_is_valid(inference_protocol: dict[str, Any]) -> None:
    validate(inference_protocol)
    assert {"/v2", "/v2/health/ready", "/v2/models/{model}/ready", "/v2/repository/index"} <= set(
        inference_protocol["paths"]
    )


@pytest.mark.parametrize(
    ("name", "value", "described"),
    [
        ("data", [1.0, 2.0], True),
        ("data", ["1"], False),
        ("datatype", "FP64", False),
        ("shape", [1, 3], False),
        ("shape", [7, 2], True),
        ("name", "y", False),
    ],
)
def test_tensors_of_the_inference_protocol_are_typed(
    inference_protocol: dict[str, Any], name: str, value: Any, described: bool
) -> None:
    schema = request_schema(inference_protocol["paths"]["/v2/models/m/infer"]["post"])
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
    assert fits(inference_protocol, schema, {"inputs": [tensor | {name: value}]}) is described


def test_a_signature_of_the_inference_protocol_is_a_parameter(inference_protocol: dict[str, Any]) -> None:
    operation = inference_protocol["paths"]["/v2/models/m/versions/3/infer"]["post"]
    assert examples(operation)["count"] == {
        "parameters": {"signature_name": "count"},
        "inputs": [{"name": "words", "shape": [1], "datatype": "BYTES", "data": ["word"]}],
    }
    assert all(fits(inference_protocol, request_schema(operation), example) for example in examples(operation).values())


def test_protocols_that_are_not_served_are_not_described() -> None:
    assert not [path for path in build([], {"v1", "site"}, Settings())["paths"] if path.startswith("/v2")]


def test_the_document_follows_the_models(tmp_path: Path) -> None:
    saved_models.half_plus_two(tmp_path / "1")
    with serve(model_dir=tmp_path, model_poll_seconds=0.05) as client:
        assert "/v1/models/model/versions/1:predict" in result(client.get("/openapi.json"))["paths"]
        saved_models.several_inputs(tmp_path / "2")
        wait_for(
            lambda: "/v1/models/model/versions/2:predict" in result(client.get("/openapi.json"))["paths"],
            "the new version is described",
        )
