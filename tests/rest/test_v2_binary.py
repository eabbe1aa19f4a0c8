"""The binary tensor data extension: bytes behind the JSON, in requests and in answers."""

import gzip
import json
import struct
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rest.api import error, result
from tests.rest.protocols import binary_outputs
from tests.rest.v2 import HEADER, half, infer, tensor

HALF = "half_plus_two"
ONE_TWO = struct.pack("<2f", 1, 2)
BINARY_X = tensor("x", "FP32", [2, 1], None, binary_data_size=8)
BINARY: dict[str, Any] = {"binary_data": True}
JSON: dict[str, Any] = {"binary_data": False}


def test_binary_input_is_answered_in_json_unless_asked_otherwise(client: FlaskClient) -> None:
    answer = infer(client, HALF, {"inputs": [BINARY_X]}, ONE_TWO)
    assert result(answer)["outputs"][0]["data"] == [2.5, 3.0]
    assert HEADER not in answer.headers


@pytest.mark.parametrize(
    "more",
    [
        {"outputs": [{"name": "y", "parameters": BINARY}]},
        {"parameters": {"binary_data_output": True}},
        {"parameters": {"binary_data_output": True}, "outputs": [{"name": "y"}]},
        {"parameters": {"binary_data_output": False}, "outputs": [{"name": "y", "parameters": BINARY}]},
    ],
)
def test_outputs_are_binary_where_that_is_asked(client: FlaskClient, more: dict[str, Any]) -> None:
    for answer in (
        infer(client, HALF, {"inputs": [BINARY_X], **more}, ONE_TWO),
        infer(client, HALF, half(1, 2, **more)),
    ):
        assert binary_outputs(answer)["y"].tolist() == [[2.5], [3.0]]


def test_the_word_on_an_output_counts_before_that_on_the_request(client: FlaskClient) -> None:
    more = {"parameters": {"binary_data_output": True}, "outputs": [{"name": "y", "parameters": JSON}]}
    assert result(infer(client, HALF, half(1, **more)))["outputs"][0]["data"] == [2.5]


def test_binary_and_json_go_together_both_ways(client: FlaskClient) -> None:
    inputs = [
        tensor("c", "BYTES", [2], None, binary_data_size=10),
        tensor("b", "INT64", [2], [10, 20]),
        tensor("a", "FP32", [2, 2], None, binary_data_size=16),
    ]
    tail = b"\1\0\0\0x\1\0\0\0y" + struct.pack("<4f", 1, 2, 3, 4)
    sent = {"inputs": inputs, "outputs": [{"name": "text", "parameters": BINARY}, {"name": "sum"}]}
    answer = infer(client, "several_inputs", sent, tail)
    length = int(answer.headers[HEADER])
    text, total = json.loads(answer.data[:length])["outputs"]
    assert (text["parameters"], text["shape"]) == ({"binary_data_size": 16}, [2])
    assert answer.data[length:] == b"\4\0\0\0x:10\4\0\0\0y:20"
    assert total["data"] == [13.0, 27.0]


@pytest.mark.parametrize("values", [(1, 2), (3, 4)])
def test_the_same_json_before_other_tensors_is_another_request(client: FlaskClient, values: tuple[float, ...]) -> None:
    answer = infer(client, HALF, {"inputs": [BINARY_X]}, struct.pack("<2f", *values))
    assert result(answer)["outputs"][0]["data"] == [value / 2 + 2 for value in values]


@pytest.mark.parametrize("b", [10, 20])
def test_what_the_json_holds_is_read_anew(client: FlaskClient, b: int) -> None:
    sent = {"id": str(b), "inputs": [tensor("b", "INT64", [1], [b]), tensor("c", "BYTES", [1], ["x"])]}
    sent["inputs"].append(tensor("a", "FP32", [1, 2], None, binary_data_size=8))
    answer = result(infer(client, "several_inputs", sent, ONE_TWO))
    assert (answer["id"], answer["outputs"][0]["data"]) == (str(b), [3 + b])


def test_what_was_wrong_once_is_wrong_again(client: FlaskClient) -> None:
    wrong = {"inputs": [tensor("x", "FP31", [2, 1], None, binary_data_size=8)]}
    first, again = [error(infer(client, HALF, wrong, ONE_TWO)) for _ in range(2)]
    assert first == again
    assert "FP31" in first


def test_bytes_that_are_not_utf_8_travel_as_binary(client: FlaskClient) -> None:
    sent = {"inputs": [tensor("x", "BYTES", [1], None, binary_data_size=6)], "parameters": {"binary_data_output": True}}
    outputs = binary_outputs(infer(client, "bytes_output", sent, b"\2\0\0\0\xff\0"))
    assert outputs["image_bytes"].tolist() == [b"\xff\xd8\xff\xff\0"]
    assert outputs["text"].tolist() == [b"\xff\0"]


def test_classes_travel_as_binary_too(client: FlaskClient) -> None:
    asked = [{"name": "y", "parameters": {"binary_data": True, "classification": 1}}]
    assert binary_outputs(infer(client, HALF, half(1, 2, outputs=asked)))["y"].tolist() == [
        [b"2.500000:0"],
        [b"3.000000:0"],
    ]


def test_the_length_of_the_json_may_be_that_of_the_whole_body(client: FlaskClient) -> None:
    text = json.dumps(half(1)).encode()
    assert result(infer(client, HALF, text, **{HEADER: f" {len(text)} "}))["outputs"][0]["data"] == [2.5]


def test_the_length_of_the_json_is_that_after_decompression(client: FlaskClient) -> None:
    head = json.dumps({"inputs": [BINARY_X]}).encode()
    headers = {"Content-Encoding": "gzip", HEADER: str(len(head))}
    answer = client.post(f"/v2/models/{HALF}/infer", data=gzip.compress(head + ONE_TWO), headers=headers)
    assert result(answer)["outputs"][0]["data"] == [2.5, 3.0]


# A body that is nothing but the bytes of the only input.


def test_a_raw_body_is_the_only_input_and_is_answered_in_binary(client: FlaskClient) -> None:
    assert binary_outputs(infer(client, HALF, b"", ONE_TWO, **{HEADER: "0"}))["y"].tolist() == [[2.5], [3.0]]


def test_a_raw_string_has_no_length_before_it(client: FlaskClient) -> None:
    answer = infer(client, "bytes_output", b"", b"ab\xff", **{HEADER: "0"})
    assert binary_outputs(answer)["text"].tolist() == [b"ab\xff"]


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        (HALF, b"\0" * 5, "has 5 bytes of binary data, but 4 are expected"),
        ("several_inputs", b"\0" * 4, "takes a model with one input; the model takes a, b, c"),
        ("no_batch", b"\0" * 8, "has 8 bytes of binary data, but 4 are expected"),
    ],
)
def test_a_raw_body_that_does_not_fit_is_refused(client: FlaskClient, model: str, body: bytes, said: str) -> None:
    assert said in error(infer(client, model, b"", body, **{HEADER: "0"}))


# What does not add up.


@pytest.mark.parametrize(
    ("size", "tail", "length", "said"),
    [
        (12, b"\0" * 12, None, "has 12 bytes of binary data, but 8 are expected for shape [2,1]"),
        (8, b"\0" * 7, None, "promises 8 bytes of binary data, but 7 are left behind the JSON"),
        (8, b"\0" * 9, None, "1 bytes are left over behind the binary data"),
        (2**63, b"\0" * 8, None, "promises 9223372036854775808 bytes"),
        (-8, b"\0" * 8, None, "binary_data_size is -8, a whole number, 0 or more is expected"),
        ("8", b"\0" * 8, None, 'binary_data_size is "8"'),
        (8.5, b"\0" * 8, None, "binary_data_size is 8.5"),
        (8, b"\0" * 8, "abc", "Inference-Header-Content-Length is 'abc', the number of bytes of the JSON is expected"),
        (8, b"\0" * 8, "-1", "Inference-Header-Content-Length is '-1'"),
        (8, b"\0" * 8, "99999999999", "Inference-Header-Content-Length is 99999999999, but the body has "),
        (8, b"\0" * 8, "9" * 5000, "Inference-Header-Content-Length is '999"),
        (8, b"\0" * 8, "10", "JSON Parse error"),
    ],
)
def test_sizes_that_do_not_add_up_are_refused(
    client: FlaskClient, size: Any, tail: bytes, length: str | None, said: str
) -> None:
    headers = {} if length is None else {HEADER: length}
    document = {"inputs": [tensor("x", "FP32", [2, 1], None, binary_data_size=size)]}
    assert said in error(infer(client, HALF, document, tail, **headers))


def test_without_the_header_binary_data_is_refused(client: FlaskClient) -> None:
    head = json.dumps({"inputs": [BINARY_X]}).encode()
    assert "JSON Parse error" in error(client.post(f"/v2/models/{HALF}/infer", data=head + ONE_TWO))
    assert HEADER in error(client.post(f"/v2/models/{HALF}/infer", data=head))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=3) | st.none(),
    shape=st.lists(st.integers(-2, 2**63) | st.floats(), max_size=3),
    datatype=st.sampled_from(["FP32", "BYTES", "BOOL", "?"]),
    tail=st.binary(max_size=24),
    length=st.integers(-5, 300).map(str)
    | st.text(st.characters(codec="latin-1", exclude_categories=["C"]), max_size=4),
)
def test_nothing_that_is_sent_is_the_servers_fault(
    client: FlaskClient, size: Any, shape: list[Any], datatype: str, tail: bytes, length: str
) -> None:
    document = {"inputs": [tensor("x", datatype, shape, None, binary_data_size=size)]}
    for header in (length, str(len(json.dumps(document)))):
        answer = infer(client, HALF, document, tail, **{HEADER: header})
        assert answer.status_code in (200, 400)


def test_an_image_goes_through_whole(client: FlaskClient) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sent = {
        "inputs": [tensor("x", "UINT8", [64, 64, 3], None, binary_data_size=image.nbytes)],
        "parameters": {"signature_name": "uint8", "binary_data_output": True},
    }
    assert np.array_equal(binary_outputs(infer(client, "echo", sent, image.tobytes()))["y"], image)
