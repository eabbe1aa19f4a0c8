"""Inference over the Open Inference Protocol, in JSON: envelopes, outputs, parameters, classification."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.caller import CALLER, Caller
from tests import saved_models
from tests.rest.api import error, result, serve
from tests.rest.v2 import half, infer, tensor

HALF = "half_plus_two"
SEVERAL = [
    tensor("a", "FP32", [1, 2], [1, 2]),
    tensor("b", "INT64", [1], [10]),
    tensor("c", "BYTES", [1], ["x"]),
]


def output(answer: Any) -> dict[str, Any]:
    """The only output of an answer."""
    (only,) = result(answer)["outputs"]
    assert isinstance(only, dict)
    return only


def test_an_answer_names_the_model_its_version_and_each_output(client: FlaskClient) -> None:
    assert result(infer(client, HALF, half(1, 2))) == {
        "model_name": HALF,
        "model_version": "1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [2.5, 3.0]}],
    }


def test_the_id_of_a_request_comes_back(client: FlaskClient) -> None:
    assert result(infer(client, HALF, half(1, id="é-1")))["id"] == "é-1"


@pytest.mark.parametrize("more", [{}, {"id": ""}, {"id": None}])
def test_no_id_is_answered_with_none(client: FlaskClient, more: dict[str, Any]) -> None:
    assert "id" not in result(infer(client, HALF, half(1, **more)))


@pytest.mark.parametrize(
    "more",
    [
        {"id": None, "parameters": None, "outputs": None},
        {"parameters": {}, "outputs": []},
        {"model_name": "other", "foo": [None], "parameters": {"priority": 1, "sequence_id": 3, "timeout": 10**9}},
        {"parameters": {"timeout": 1e9}},
    ],
)
def test_what_is_null_or_unknown_changes_nothing(client: FlaskClient, more: dict[str, Any]) -> None:
    assert output(infer(client, HALF, half(1, **more)))["data"] == [2.5]


def test_a_client_may_write_every_number_as_a_decimal(client: FlaskClient) -> None:
    sent = {"inputs": [tensor("x", "INT32", [2.0, 1.0], [1.0, 2.0])]}  # type: ignore[list-item]
    assert output(infer(client, "echo", sent)) == {"name": "y", "datatype": "INT32", "shape": [2, 1], "data": [1, 2]}


def test_nested_data_is_read_and_flat_data_written(client: FlaskClient) -> None:
    sent = {"inputs": [tensor("x", "INT32", [2, 2], [[1, 2], [4, 5]])]}
    assert output(infer(client, "echo", sent))["data"] == [1, 2, 4, 5]


def test_a_scalar_is_a_list_of_one_element_both_ways(client: FlaskClient) -> None:
    answer = output(infer(client, "no_batch", {"inputs": [tensor("x", "FP32", [], [3.0])]}))
    assert answer == {"name": "y", "datatype": "FP32", "shape": [], "data": [9.0]}


def test_a_signature_without_inputs_is_called_with_none(client: FlaskClient) -> None:
    sent = {"inputs": [], "parameters": {"signature_name": "constant"}}
    assert output(infer(client, "several_signatures", sent))["data"] == [42.0]


@pytest.mark.parametrize("names", [["text", "sum"], ["sum"], ["text"]])
def test_the_outputs_asked_for_come_in_the_order_asked(client: FlaskClient, names: list[str]) -> None:
    answer = result(infer(client, "several_inputs", {"inputs": SEVERAL, "outputs": [{"name": name} for name in names]}))
    assert [output["name"] for output in answer["outputs"]] == names


def test_inputs_may_come_in_any_order(client: FlaskClient) -> None:
    answer = result(infer(client, "several_inputs", {"inputs": SEVERAL[::-1]}))
    assert [output["data"] for output in answer["outputs"]] == [[13.0], ["x:10"]]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, '"inputs" is missing'),
        ({"inputs": None}, '"inputs" is missing'),
        ({"inputs": []}, 'input "x" is missing; the model takes x'),
        ({"inputs": {}}, "inputs is {}, a list of input tensors is expected"),
        ({"inputs": [1]}, "inputs[0]: an input is 1, an object is expected"),
        ({"inputs": [{}]}, "inputs[0]: name of an input is null, a string that is not empty is expected"),
        (
            {"inputs": [tensor("x", "FP32", [1, 1], [1]), tensor("z", "FP32", [True], [1])]},
            "inputs[1]: shape is true, whole numbers is expected",
        ),
        ({"inputs": [tensor(1, "FP32", [1], [1])]}, "name of an input is 1"),  # type: ignore[arg-type]
        ({"inputs": [tensor("x", "FP32", [1, 1])]}, 'input "x" has neither "data" nor a "binary_data_size"'),
        (
            {"inputs": [tensor("x", "FP32", [1, 1], [1], binary_data_size=4)]},
            'input "x" has both "data" and a "binary_data_size"',
        ),
        ({"inputs": [{"name": "x", "shape": [1, 1], "data": [1]}]}, 'input "x": datatype is null, one of BOOL, UINT8'),
        ({"inputs": [tensor("x", "fp32", [1, 1], [1])]}, 'input "x": datatype is "fp32"'),
        ({"inputs": [tensor("x", "INT32", [1, 1], [1])]}, 'input "x" has datatype INT32, but FP32 is expected'),
        ({"inputs": [{"name": "x", "datatype": "FP32", "data": [1]}]}, 'input "x": shape is null'),
        ({"inputs": [tensor("x", "FP32", ["1"], [1])]}, 'shape is "1", whole numbers'),  # type: ignore[list-item]
        ({"inputs": [tensor("x", "FP32", [True], [1])]}, "shape is true"),
        ({"inputs": [tensor("x", "FP32", [1.5], [1])]}, "shape is 1.5"),  # type: ignore[list-item]
        ({"inputs": [tensor("x", "FP32", [-1, 1], [1])]}, 'input "x": shape [-1, 1] has a size below 0'),
        ({"inputs": [tensor("x", "FP32", [2**62, 2**62], [1])]}, "has too many elements"),
        ({"inputs": [tensor("x", "FP32", [0, 2**62], [])]}, "has too many elements"),
        ({"inputs": [tensor("x", "FP32", [1] * 65, [1])]}, "a list of at most 64 sizes"),
        ({"inputs": [tensor("x", "FP32", [2], [1, 2])]}, 'input "x" has shape [2], but [-1,1] is expected'),
        ({"inputs": [tensor("x", "FP32", [1, 2], [1, 2])]}, 'input "x" has shape [1,2], but [-1,1] is expected'),
        ({"inputs": [tensor("x", "FP32", [1, 1], [1, 2])]}, 'input "x": data has 2 elements, but 1 are expected'),
        ({"inputs": [tensor("x", "FP32", [1, 1], ["a"])]}, 'element 0 of data is "a" of type String'),
        ({"inputs": [tensor("x", "FP32", [1, 1], 1.0)]}, "a list of its elements is expected"),
        ({"inputs": [tensor("x", "FP32", [1, 1], [1])] * 2}, 'input "x" is there more than once'),
        (
            {"inputs": [*half(1)["inputs"], tensor("zzz", "FP32", [1], [1])]},
            'unexpected input "zzz"; the model takes x',
        ),
        (half(1, outputs=[{"name": "zzz"}]), 'unexpected output "zzz"; the model gives y'),
        (half(1, outputs=[{"name": "y"}] * 2), 'output "y" is there more than once'),
        (half(1, outputs={}), "outputs is {}, a list of outputs is expected"),
        (half(1, outputs=["y"]), 'outputs[0]: an output is "y", an object is expected'),
        (half(1, outputs=[{"name": "y", "parameters": {"binary_data": 1}}]), "binary_data is 1, true or false"),
        (half(1, outputs=[{"name": "y", "parameters": {"classification": -1}}]), "classification is -1"),
        (half(1, id=1), "id is 1, a string is expected"),
        (half(1, parameters=[]), "parameters is [], an object is expected"),
        (half(1, parameters={"timeout": -1}), "timeout is -1, a whole number, 0 or more"),
        (half(1, parameters={"binary_data_output": "yes"}), 'binary_data_output is "yes", true or false'),
        (
            {"inputs": [tensor("x", "FP32", [1, 1], None, shared_memory_region="r", shared_memory_byte_size=4)]},
            'input "x": shared memory is not supported; send the data',
        ),
        (
            half(1, outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}]),
            'output "y": shared memory is not supported',
        ),
    ],
)
def test_the_first_thing_wrong_is_said(client: FlaskClient, document: Any, said: str) -> None:
    assert said in error(infer(client, HALF, document))


@pytest.mark.parametrize("version", ["abc", "1.0.0", "-1", "9" * 30, "1_0"])
def test_a_version_that_is_no_number_is_refused(client: FlaskClient, version: str) -> None:
    said = error(client.post(f"/v2/models/{HALF}/versions/{version}/infer", json=half(1)))
    assert said.startswith("The version of a model is a whole number")


def test_strings_that_are_not_utf_8_are_refused_with_the_way_to_get_them(client: FlaskClient) -> None:
    sent = {"inputs": [tensor("x", "BYTES", [1], ["a"])]}
    said = error(infer(client, "bytes_output", sent))
    assert 'output "image_bytes" holds bytes that are not UTF-8' in said
    assert "binary_data" in said
    assert output(infer(client, "bytes_output", sent | {"outputs": [{"name": "text"}]}))["data"] == ["a"]


# Classification.


@pytest.mark.parametrize(
    ("classes", "data"),
    [
        (1, ["0.750000:1", "3.000000:2"]),
        (2, ["0.750000:1", "0.250000:0", "3.000000:2", "2.000000:1"]),
        (9, ["0.750000:1", "0.250000:0", "-1.000000:2", "3.000000:2", "2.000000:1", "1.000000:0"]),
    ],
)
def test_the_best_classes_of_each_row_are_told(client: FlaskClient, classes: int, data: list[str]) -> None:
    scores = tensor("x", "FP32", [2, 3], [0.25, 0.75, -1, 1, 2, 3])
    sent = {
        "inputs": [scores],
        "outputs": [{"name": "y", "parameters": {"classification": classes}}],
        "parameters": {"signature_name": "float"},
    }
    answer = output(infer(client, "echo", sent))
    assert answer == {"name": "y", "datatype": "BYTES", "shape": [2, min(classes, 3)], "data": data}


@pytest.mark.parametrize(
    ("signature", "sent", "data"),
    [
        ("int32", tensor("x", "INT32", [3], [5, 7, 7]), ["7:1", "7:2"]),
        ("uint8", tensor("x", "UINT8", [1, 3], [255, 0, 1]), ["255:0", "1:2"]),
        ("bool", tensor("x", "BOOL", [1, 2], [False, True]), ["1:1", "0:0"]),
    ],
)
def test_whole_numbers_are_told_whole_and_the_first_of_equals_first(
    client: FlaskClient, signature: str, sent: Any, data: list[str]
) -> None:
    asked = [{"name": "y", "parameters": {"classification": 2}}]
    document = {"inputs": [sent], "outputs": asked, "parameters": {"signature_name": signature}}
    assert output(infer(client, "echo", document))["data"] == data


def test_no_rows_have_no_classes(client: FlaskClient) -> None:
    asked = [{"name": "y", "parameters": {"classification": 2}}]
    sent = {"inputs": [tensor("x", "FP32", [0, 3], [])], "outputs": asked, "parameters": {"signature_name": "float"}}
    answer = output(infer(client, "echo", sent))
    assert (answer["shape"], answer["data"]) == ([0, 2], [])


def test_strings_have_no_classes(client: FlaskClient) -> None:
    asked = [{"name": "text", "parameters": {"classification": 1}}]
    sent = {"inputs": [tensor("x", "BYTES", [1], ["a"])], "outputs": asked}
    assert "cannot be classified" in error(infer(client, "bytes_output", sent))


# Time-outs.


def test_the_time_that_a_request_is_worth_counts_from_its_arrival(client: FlaskClient) -> None:
    for waited, microseconds, status in ((0.0, 20_000_000, 200), (2.0, 1_500_000, 504), (2.0, 0, 200)):
        arrived = time.monotonic() - waited
        late = {CALLER: Caller(arrived, arrived + 30)}
        sent = json.dumps(half(1, parameters={"timeout": microseconds}))
        answer = client.post("/v2/models/half_plus_two/infer", data=sent, environ_overrides=late)
        assert answer.status_code == status
    said = error(infer(client, "half_plus_two", half(1, parameters={"timeout": 1})), 504)
    assert said.startswith("Timed out waiting for notification")


def test_a_request_cannot_ask_for_more_time_than_the_server_allows(client: FlaskClient) -> None:
    late = {CALLER: Caller(time.monotonic() - 31, time.monotonic() - 1)}
    sent = json.dumps(half(1, parameters={"timeout": 60_000_000}))
    assert error(client.post("/v2/models/half_plus_two/infer", data=sent, environ_overrides=late), 504)


def test_a_model_with_one_signature_needs_no_name_for_it(tmp_path: Path) -> None:
    saved_models.doubling(tmp_path / "one" / "1", "double")
    saved_models.doubling(tmp_path / "two" / "1", "double", "twice")
    sent = {"inputs": [tensor("x", "FP32", [1], [1.5])]}
    with serve(model_dir=tmp_path) as client:
        assert output(infer(client, "one", sent))["data"] == [3.0]
        said = error(infer(client, "two", sent))
        assert 'name one in the parameter "signature_name": double, twice' in said
        assert output(infer(client, "two", sent | {"parameters": {"signature_name": "twice"}}))["data"] == [3.0]
