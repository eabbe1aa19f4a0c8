"""Predict over HTTP: rows and columns in, rows and columns out, and what is said of each thing that is wrong."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from tests.rest.api import error, post, predict, result, serve

HALF = "half_plus_two"
A_HUNDRED_LEVELS = "[" * 99 + "1" + "]" * 99
"""Inside of an object, which is one level too."""


# Rows.


@pytest.mark.parametrize(
    ("signature", "instances", "predictions"),
    [
        ("int32", "[1, 2, 3]", [1, 2, 3]),
        ("int32", "[[1, 2], [3, 4], [5, 6]]", [[1, 2], [3, 4], [5, 6]]),
        ("int32", "[[[1, 2], [3, 4], [5, 6]]]", [[[1, 2], [3, 4], [5, 6]]]),
        ("int32", '[{"x": 1}, {"x": 2}]', [1, 2]),
        ("int32", '[{"x": [1, 2]}]', [[1, 2]]),
        ("int32", "[[]]", [[]]),
        ("int32", "[[[], []]]", [[[], []]]),
        ("float", "[1, 2.5, 3e0]", [1.0, 2.5, 3.0]),
        ("string", '["a", "b"]', ["a", "b"]),
        ("string", '[{"b64": "aGVsbG8="}, "world"]', ["hello", "world"]),
        ("string", '[["a", {"b64": "aGVsbG8="}]]', [["a", "hello"]]),
        ("string", '[{"x": [["a"], [{"b64": "aGVsbG8="}]]}]', [[["a"], ["hello"]]]),
        ("bool", "[[true], [false]]", [[True], [False]]),
    ],
)
def test_rows_are_stacked_and_answered_one_by_one(
    client: FlaskClient, signature: str, instances: str, predictions: Any
) -> None:
    response = predict(client, "echo", f'{{"instances": {instances}}}', signature)
    assert result(response) == {"predictions": predictions}


@pytest.mark.parametrize(
    ("instances", "predictions"),
    [
        ([[1.0], [2.0]], [[2.5], [3.0]]),
        ([1.0, 2.0, 5.0], [2.5, 3.0, 4.5]),
        ([[1.0, 2.0], [3.0, 4.0]], [[2.5, 3.0], [3.5, 4.0]]),
        ([[[1.0]]], [[[2.5]]]),
        ([[]], [[]]),
    ],
)
def test_the_shape_is_not_held_against_the_signature(client: FlaskClient, instances: Any, predictions: Any) -> None:
    assert result(predict(client, HALF, {"instances": instances})) == {"predictions": predictions}


def test_rows_of_several_inputs_are_objects_and_so_are_the_answers(client: FlaskClient) -> None:
    rows = [{"a": [1, 2], "b": 10, "c": "x"}, {"c": {"b64": "eQ=="}, "b": -1, "a": [0.5, 0]}]
    assert result(predict(client, "several_inputs", {"instances": rows})) == {
        "predictions": [{"sum": 13.0, "text": "x:10"}, {"sum": -0.5, "text": "y:-1"}]
    }


def test_keys_that_mean_nothing_are_ignored(client: FlaskClient) -> None:
    body = '{"extra": {"deep": [null, "b", {}]}, "instances": [1.0], "": 1}'
    assert result(predict(client, HALF, body)) == {"predictions": [2.5]}


@pytest.mark.parametrize("signature", ['""', '"serving_default"'])
def test_an_empty_signature_name_is_the_default(client: FlaskClient, signature: str) -> None:
    body = f'{{"signature_name": {signature}, "instances": [1.0]}}'
    assert result(predict(client, "several_signatures", body)) == {"predictions": [2.0]}


@pytest.mark.parametrize(("signature", "answer"), [("negate", -3.0), ("halve", 1.5)])
def test_a_signature_is_called_by_its_name(client: FlaskClient, signature: str, answer: float) -> None:
    assert result(predict(client, "several_signatures", {"instances": [3.0]}, signature)) == {"predictions": [answer]}


# Columns.


@pytest.mark.parametrize(
    ("signature", "inputs", "outputs"),
    [
        ("int32", "1", 1),
        ("int32", "[]", []),
        ("int32", "[1, 2]", [1, 2]),
        ("int32", '{"x": [1, 2]}', [1, 2]),
        ("int32", '{"x": 1, "unknown": ["ignored"]}', 1),
        ("int32", '{"x": [[[1, 2], [3, 4], [5, 6]]]}', [[[1, 2], [3, 4], [5, 6]]]),
        ("int32", "[[], []]", [[], []]),
        ("string", '"a"', "a"),
        ("string", '{"b64": "aGVsbG8="}', "hello"),
        ("string", '{"x": {"b64": "aGVsbG8="}}', "hello"),
        ("string", '[{"b64": "aGVsbG8="}, "a"]', ["hello", "a"]),
        ("bool", "true", True),
        ("double", "-Infinity", -math.inf),
    ],
)
def test_a_column_is_a_whole_tensor(client: FlaskClient, signature: str, inputs: str, outputs: Any) -> None:
    assert result(predict(client, "echo", f'{{"inputs": {inputs}}}', signature)) == {"outputs": outputs}


def test_columns_of_several_inputs_are_one_object_and_so_is_the_answer(client: FlaskClient) -> None:
    inputs = {"a": [[1, 2], [3, 4]], "b": [10, 20], "c": ["x", {"b64": "eQ=="}]}
    assert result(predict(client, "several_inputs", {"inputs": inputs})) == {
        "outputs": {"sum": [13.0, 27.0], "text": ["x:10", "y:20"]}
    }


def test_dimension_0_of_columns_may_differ(client: FlaskClient) -> None:
    response = predict(client, "passthrough", {"inputs": {"x": [1.0], "z": [10.0, 20.0]}})
    assert result(response) == {"outputs": {"x": [1.0], "sum": [11.0, 21.0], "total": [11.0, 21.0]}}


def test_scalars_go_in_and_come_out_as_columns(client: FlaskClient) -> None:
    assert result(predict(client, "no_batch", {"inputs": 3.0})) == {"outputs": 9.0}
    assert result(predict(client, "contrary_outputs", {"inputs": [1.0, 2.0]}, "scalar")) == {"outputs": 3.0}


def test_an_empty_object_calls_a_signature_without_inputs(client: FlaskClient) -> None:
    assert result(predict(client, "several_signatures", {"inputs": {}}, "constant")) == {"outputs": [42.0]}


@pytest.mark.parametrize("body", [{"inputs": []}, {"inputs": [1.0]}, {"instances": [1.0]}, {"instances": [{}]}, {}])
def test_nothing_else_calls_a_signature_without_inputs(client: FlaskClient, body: Any) -> None:
    said = error(predict(client, "several_signatures", {"x": 1, **body}, "constant"))
    assert said == "Failed to get input map for signature: constant"


def test_a_stateful_model_keeps_its_state_between_requests(client: FlaskClient) -> None:
    assert result(predict(client, "counter", {"inputs": {}}, "reset")) == {"outputs": 0.0}
    assert result(predict(client, "counter", {"inputs": 2.5}, "increment_by")) == {"outputs": 2.5}
    assert result(predict(client, "counter", {"inputs": {"delta": 0.5}}, "increment_by")) == {"outputs": 3.0}
    assert result(predict(client, "counter", {"inputs": {}}, "get")) == {"outputs": 3.0}


# Dtypes.


@pytest.mark.parametrize(
    ("dtype", "values", "answer"),
    [
        ("float", "[0, -0.0, 1.5, 16777217]", [0.0, -0.0, 1.5, 16777216.0]),
        ("float", "[1e39, -1e39, 1e-50]", [math.inf, -math.inf, 0.0]),
        ("float", "[1.79769e+308, -1.79769e+308]", [math.inf, -math.inf]),
        ("float", "[Infinity, -Infinity]", [math.inf, -math.inf]),
        ("double", "[0.1, 1e308, 5e-324, 9007199254740993]", [0.1, 1e308, 5e-324, 9007199254740992.0]),
        ("double", "[18446744073709551616]", [2.0**64]),
        ("half", "[1, 65504, 1e6]", [1.0, 65504.0, math.inf]),
        ("bfloat16", "[1, 3.140625]", [1.0, 3.140625]),
        ("int8", "[-128, 127]", [-128, 127]),
        ("int16", "[-32768, 32767]", [-32768, 32767]),
        ("int32", "[-2147483648, 2147483647, -0]", [-2147483648, 2147483647, 0]),
        ("int64", "[-9223372036854775808, 9223372036854775807]", [-9223372036854775808, 9223372036854775807]),
        ("uint8", "[0, 255]", [0, 255]),
        ("uint16", "[0, 65535]", [0, 65535]),
        ("uint32", "[0, 4294967295]", [0, 4294967295]),
        ("uint64", "[0, 18446744073709551615]", [0, 18446744073709551615]),
        ("bool", "[true, false]", [True, False]),
        ("string", '["", "é😀", "\\u0000", "\\ud83d\\ude00", "NaN"]', ["", "é😀", "\0", "😀", "NaN"]),
    ],
)
@pytest.mark.parametrize(("key", "answers"), [("instances", "predictions"), ("inputs", "outputs")])
def test_a_dtype_holds_its_whole_range(
    client: FlaskClient, dtype: str, values: str, answer: Any, key: str, answers: str
) -> None:
    assert result(predict(client, "echo", f'{{"{key}": {values}}}', dtype)) == {answers: answer}


@pytest.mark.parametrize("dtype", ["float", "double"])
def test_nan_goes_in_and_comes_out_as_a_bare_token(client: FlaskClient, dtype: str) -> None:
    response = predict(client, "echo", '{"instances": [NaN, 0]}', dtype)
    assert response.data == b'{"predictions":[NaN,0.0]}'


REFUSED = {
    "float": ["true", "null", '"1"', '{"b64": "aGk="}', '{"a": 1}'],
    "double": ["false", "null", '"NaN"'],
    "int8": ["128", "-129", "1.0", "true", "NaN"],
    "int16": ["32768", "1e2"],
    "int32": ["2147483648", "-2147483649", "1.0", "1.5", '"1"', "null", "true", "1e20"],
    "int64": ["9223372036854775808", "-9223372036854775809", "1.0"],
    "uint8": ["-1", "256", "300"],
    "uint16": ["-1", "65536"],
    "uint32": ["-1", "4294967296", "0.0"],
    "uint64": ["-1", "18446744073709551616"],
    "bool": ["0", "1", '"true"', "null"],
    "string": ["1", "1.5", "true", "null"],
    "half": ['"1"', "true"],
}
TYPE_NAMES = {"t": "True", "f": "False", "n": "Null", '"': "String", "{": "Object"}


@pytest.mark.parametrize(("dtype", "value"), [(dtype, value) for dtype, values in REFUSED.items() for value in values])
def test_a_dtype_refuses_what_is_not_exactly_its_own(client: FlaskClient, dtype: str, value: str) -> None:
    type_name = TYPE_NAMES.get(value[0], "Number")
    said = f" Type: {type_name} is not of expected type: {dtype}"
    in_column = error(predict(client, "echo", f'{{"inputs": {{"x": {value}}}}}', dtype))
    assert in_column.startswith("JSON Value: ")
    assert said in in_column
    in_row = error(predict(client, "echo", f'{{"instances": [[{value}]]}}', dtype))
    assert in_row.startswith("Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: ")
    assert said in in_row


@pytest.mark.parametrize("base64", ["aGVsbG8=", "aGVsbG8", "aGVs bG8=", "aGVs\\nbG8="])
def test_base64_needs_no_padding_and_may_hold_white_space(client: FlaskClient, base64: str) -> None:
    body = f'{{"instances": [{{"b64": "{base64}"}}]}}'
    assert result(predict(client, "echo", body, "string")) == {"predictions": ["hello"]}


@pytest.mark.parametrize("base64", ["%%%", "a", "aGk==", "aGk=a", "-_-_", "===="])
def test_what_is_not_base64_is_refused(client: FlaskClient, base64: str) -> None:
    said = error(predict(client, "echo", {"inputs": [{"b64": base64}]}, "string"))
    assert "Unable to base64 decode" in said


@pytest.mark.parametrize("value", ['{"b64": 1}', '{"b64": "aGk=", "more": 1}', '{"B64": "aGk="}', "{}"])
def test_an_object_that_is_not_base64_is_no_string(client: FlaskClient, value: str) -> None:
    said = error(predict(client, "echo", f'{{"instances": [[{value}]]}}', "string"))
    assert "not formatted correctly for base64 data" in said


def test_an_object_in_place_of_the_only_input_is_read_as_inputs_by_name(client: FlaskClient) -> None:
    said = error(predict(client, "echo", '{"inputs": {"b64": 1}}', "string"))
    assert said == "Missing named input: x in 'inputs' object."


# The envelope, in the order in which it is checked.


@pytest.mark.parametrize(
    ("model", "body", "status", "said"),
    [
        ("nobody", "", 400, "JSON Parse error: The document is empty"),
        ("nobody", "{bad", 400, "JSON Parse error: "),
        ("nobody", "5", 400, "JSON Value: 5 Is not object"),
        ("nobody", '{"signature_name": 5}', 400, "'signature_name' key must be a string value."),
        ("nobody", '{"signature_name": "no"}', 404, "Servable not found for request: Latest(nobody)"),
        (HALF, '{"signature_name": "no"}', 400, 'Serving signature name: "no" not found in signature def'),
        (HALF, '{"instances": 1, "inputs": 1}', 400, "expecting only one of 'inputs' or 'instances' keys to exist "),
        (HALF, '{"instances": ["x"]}', 400, "is not of expected type: float"),
    ],
)
def test_the_first_thing_wrong_is_the_one_that_is_said(
    client: FlaskClient, model: str, body: str, status: int, said: str
) -> None:
    assert said in error(post(client, f"{model}:predict", body), status)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("null", "JSON Value: null Is not object"),
        ('"text"', 'JSON Value: "text" Is not object'),
        ("[1.5, true]", "JSON Value: [1.5, true] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"Instances": [1.0]}', "Missing 'inputs' or 'instances' key"),
        (
            '{"instances": 5}',
            "JSON Value: {\n    \"instances\": 5\n} Expecting 'instances' to be an list/array",
        ),
        ('{"instances": null}', "Expecting 'instances' to be an list/array"),
        ('{"instances": {"x": [1.0]}}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        (
            '{"instances": [1.0], "inputs": null}',
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        (
            '{"signature_name": ["a"]}',
            'JSON Value: {\n    "signature_name": ["a"]\n} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
        ('{"inputs": null}', "JSON Value: null Type: Null is not of expected type: float"),
        ('{"inputs": {"z": [1.0]}}', "Missing named input: x in 'inputs' object."),
    ],
)
def test_an_envelope_that_does_not_fit_is_refused_in_upstreams_words(client: FlaskClient, body: str, said: str) -> None:
    assert said in error(post(client, f"{HALF}:predict", body))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("", "The document is empty"),
        (" \n", "The document is empty"),
        ("instances = [1, 2]", "Invalid value."),
        ("{'instances': [1.0]}", "Missing a name for object member."),
        ('{"instances" [1.0]}', "Missing a colon after a name of object member."),
        ('{"instances": [1.0,]}', "Invalid value."),
        ('{"instances": [1.0}', "Missing a comma or ']' after an array element."),
        ('{"instances": [1.0]', "Missing a comma or '}' after an object member."),
        ('{"instances": ["a', "Missing a closing quotation mark in string."),
        ('{"instances": ["\\x"]}', "Invalid escape character in string."),
        ('{"instances": ["\\u12"]}', "Incorrect hex digit after \\u escape in string."),
        ('{"instances": ["\\ud800"]}', "The surrogate pair in string is invalid."),
        ('{"instances": [1.]}', "Miss fraction part in number."),
        ('{"instances": [1e]}', "Miss exponent in number."),
        ('{"instances": [1e999]}', "Number too big to be stored in double."),
        ('{"instances": [1.0]} more', "The document root must not be followed by other values."),
        ('{"instances": [1.0] /* why */}', "Missing a comma or"),
    ],
)
def test_what_is_not_json_is_refused_in_upstreams_words(client: FlaskClient, body: str, what: str) -> None:
    said = error(post(client, f"{HALF}:predict", body))
    assert said.startswith("JSON Parse error: ")
    assert what in said


@pytest.mark.parametrize(
    "body",
    ['\n\t {"instances": [1.0]} \r\n', '\ufeff{"instances": [1.0]}', '{"instances":[1e0]}', '{"instances": [0.1e+1]}'],
)
def test_white_space_a_byte_order_mark_and_exponents_are_json(client: FlaskClient, body: str) -> None:
    assert result(post(client, f"{HALF}:predict", body)) == {"predictions": [2.5]}


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain", "nonsense"])
def test_the_content_type_of_a_request_does_not_matter(client: FlaskClient, content_type: str | None) -> None:
    response = client.post(f"/v1/models/{HALF}:predict", data=b'{"instances": [1.0]}', content_type=content_type)
    assert result(response) == {"predictions": [2.5]}


# Rows and lists that do not fit together.

ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("instances", "index", "said"),
    [
        ("[[1, 2], [3, 4], [5, 6, 7]]", 2, "Expecting tensor size: 2 but got: 3"),
        ("[[1, 2], [3, 4], [[5, 6]]]", 2, "Expecting shape [2] but got: [1,2]"),
        ("[1, [1]]", 1, "Expecting shape [] but got: [1]"),
        ("[[1], 1]", 1, "Expecting shape [1] but got: []"),
        ("[[], [1]]", 1, "Expecting tensor size: 0 but got: 1"),
        ("[[[1, 2], [3]]]", 0, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("[[1, [2]]]", 0, "Encountered list at unexpected level: 1 expected < 1"),
        ("[[[1], 2]]", 0, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ('[[1, 2], ["a", "b"]]', 1, 'JSON Value: "a" Type: String is not of expected type: int32'),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(client: FlaskClient, instances: str, index: int, said: str) -> None:
    assert error(predict(client, "echo", f'{{"instances": {instances}}}')).startswith(ELEMENT.format(index) + said)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("[[1, 2], [3]]", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("[[1], []]", "Encountered list at unexpected size: 0 at level: 1 expected size: 1"),
        ("[[1], 2]", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ("[1, [2]]", "Encountered list at unexpected level: 1 expected < 1"),
    ],
)
def test_columns_that_are_ragged_are_refused(client: FlaskClient, inputs: str, said: str) -> None:
    assert error(predict(client, "echo", f'{{"inputs": {inputs}}}')).startswith(said)


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        ('[{"x": 1}, 5]', "Expecting object but got list at item 1 of input list"),
        ('[{"x": 1}, [5]]', "Expecting object but got list at item 1 of input list"),
        ('[5, {"x": 1}]', "Expecting value/list but got object at item 1 of input list"),
        (
            '[{"x": 1}, {}]',
            "Failed to process element: 1 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
        (
            '[{"x": 1, "z": 2}]',
            "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: z",
        ),
        (
            '[{"x": 1}, {"x": "a"}]',
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "a" Type: String is not of expected type: int32',
        ),
    ],
)
def test_named_rows_that_do_not_fit_are_refused(client: FlaskClient, instances: str, said: str) -> None:
    assert error(predict(client, "echo", f'{{"instances": {instances}}}')).startswith(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"instances": [1, 2]}, "instances is a plain list, but expecting list of objects as multiple input tensors"),
        ({"instances": [[1, "x"]]}, "instances is a plain list, but expecting list of objects as multiple input"),
        ({"inputs": [1, 2]}, "inputs is a plain value/list, but expecting an object as multiple input tensors"),
        ({"inputs": None}, "inputs is a plain value/list, but expecting an object as multiple input tensors"),
        ({"inputs": {"a": [[1, 2]], "c": ["x"]}}, "Missing named input: b in 'inputs' object."),
        (
            {"instances": [{"a": [1, 2], "b": 1}]},
            'Failed to process element: 0 of \'instances\' list. JSON object: {\n    "a": [1, 2],\n    "b": 1\n} '
            "keys must be equal to: a,b,c",
        ),
        (
            {"instances": [{"a": [1, 2], "b": 1, "c": "x"}, {"a": [1], "b": 1, "c": "x"}]},
            "Failed to process element: 1 key: a of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 2 but got: 1",
        ),
        (
            {"instances": [{"a": [1, 2], "b": 1.5, "c": "x"}]},
            "Failed to process element: 0 key: b of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON Value: 1.5 Type: Number is not of expected type: int64",
        ),
    ],
)
def test_several_inputs_that_do_not_fit_are_refused(client: FlaskClient, body: Any, said: str) -> None:
    assert error(predict(client, "several_inputs", body)).startswith(said)


# Answers.


def test_a_float_is_the_shortest_text_that_reads_back_as_the_same_float(client: FlaskClient) -> None:
    body = '{"instances": [0.2, 0.3333333433, 16777216, 1435774380]}'
    response = predict(client, "echo", body, "float")
    assert response.data.startswith(b'{"predictions":[0.2,0.33333334,16777216.0,')
    assert np.float32(result(response)["predictions"][3]) == np.float32(1435774336)


def test_strings_of_an_output_named_bytes_are_base64_and_others_raw(client: FlaskClient) -> None:
    assert result(predict(client, "bytes_output", {"instances": ["a"]})) == {
        "predictions": [{"image_bytes": {"b64": "/9j/YQ=="}, "text": "a"}]
    }
    assert result(predict(client, "bytes_output", {"inputs": ["a", "b"]})) == {
        "outputs": {"image_bytes": [{"b64": "/9j/YQ=="}, {"b64": "/9j/Yg=="}], "text": ["a", "b"]}
    }


def test_a_string_that_is_not_utf_8_is_written_as_it_is(client: FlaskClient) -> None:
    response = predict(client, "echo", {"instances": [{"b64": "/2E="}, "b"]}, "string")
    assert response.data == b'{"predictions":["\xffa","b"]}'


def test_values_that_are_not_finite_are_bare_tokens(client: FlaskClient) -> None:
    response = predict(client, "not_finite", {"instances": [1.0, 2.0]})
    assert response.data == b'{"predictions":[[NaN,Infinity,-Infinity,1.0],[NaN,Infinity,-Infinity,2.0]]}'


def test_values_that_are_not_finite_are_null_where_that_is_set(models: Path) -> None:
    with serve(model_dir=models / "not_finite", non_finite="null") as client:
        assert predict(client, "model", {"inputs": [1.0]}).data == b'{"outputs":[[null,null,null,1.0]]}'


def test_values_that_are_not_finite_are_an_error_where_that_is_set(models: Path) -> None:
    with serve(model_dir=models / "not_finite", non_finite="error") as client:
        assert 'Output "y" has a value that is not finite' in error(predict(client, "model", {"inputs": [1.0]}))


@pytest.mark.parametrize(
    ("signature", "instances", "said"),
    [
        ("scalar", [1.0, 2.0], "Tensor name: y has no shape information "),
        ("with_scalar", [1.0, 2.0], "Tensor name: y has no shape information "),
        ("serving_default", [1.0, 2.0], "Tensor name: b has inconsistent batch size: 1 expecting: 2"),
        ("complex", [1.0], "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_outputs_that_do_not_come_in_rows_are_refused_in_row_format(
    client: FlaskClient, signature: str, instances: Any, said: str
) -> None:
    assert error(predict(client, "contrary_outputs", {"instances": instances}, signature)) == said


def test_outputs_that_do_not_come_in_rows_are_answered_as_columns(client: FlaskClient) -> None:
    response = predict(client, "contrary_outputs", {"inputs": [1.0, 2.0]})
    assert result(response) == {"outputs": {"a": [1.0, 2.0], "b": [1.0]}}


def test_no_rows_are_answered_with_no_rows(client: FlaskClient) -> None:
    assert result(predict(client, "several_inputs", {"inputs": {"a": [[1, 2]], "b": [], "c": []}})) == {
        "outputs": {"sum": [], "text": []}
    }


# What TensorFlow refuses.


@pytest.mark.parametrize(
    ("x", "said"), [(0, "Integer division by zero"), (100, "x is too large")], ids=["division", "assertion"]
)
def test_what_tensorflow_says_is_passed_on_without_its_stack_and_nodes(client: FlaskClient, x: int, said: str) -> None:
    text = error(predict(client, "raises", {"instances": [x]}))
    assert said in text
    assert "{{" not in text
    assert "\n" not in text
    assert result(predict(client, "raises", {"instances": [20]})) == {"predictions": [5]}


def test_a_shape_that_tensorflow_refuses_is_named_with_the_one_that_the_signature_states(client: FlaskClient) -> None:
    inputs = {"a": [[1], [2]], "b": [1, 2, 3], "c": ["x"]}
    text = error(predict(client, "several_inputs", {"inputs": inputs}))
    assert 'input "a" has shape [2,1]' in text
    assert "the signature states [-1,2]" in text


def test_a_run_without_end_is_stopped_in_time(models: Path) -> None:
    with serve(model_dir=models / "endless", request_timeout_seconds=0.5) as client:
        said = error(predict(client, "model", {"instances": [1.0]}), 504)
        assert "Timed out waiting for notification" in said
        assert "0.5 seconds" in said
        assert result(predict(client, "model", {"instances": [-1.0]})) == {"predictions": [-1.0]}


# Large, deep and nearly right; each is followed by a request that must work.


def _still_serves(client: FlaskClient) -> bool:
    return result(predict(client, HALF, {"instances": [[1.0]]})) == {"predictions": [[2.5]]}


def test_a_hundred_thousand_rows_are_answered_in_order(client: FlaskClient) -> None:
    rows = list(range(100_000))
    assert result(predict(client, "echo", {"instances": rows})) == {"predictions": rows}
    assert _still_serves(client)


def test_a_hundred_thousand_named_rows_are_answered_in_order(client: FlaskClient) -> None:
    rows = [{"x": [index, -index]} for index in range(100_000)]
    answer = result(predict(client, "echo", {"instances": rows}))
    assert answer["predictions"][99_999] == [99_999, -99_999]
    assert _still_serves(client)


def test_a_string_of_five_megabytes_is_echoed(client: FlaskClient) -> None:
    text = "é" * 2_500_000
    assert result(predict(client, "echo", {"instances": [text]}, "string")) == {"predictions": [text]}
    assert _still_serves(client)


def test_a_string_of_five_megabytes_in_the_wrong_place_is_not_repeated(client: FlaskClient) -> None:
    for body in ({"instances": ["x" * 5_000_000]}, {"signature_name": "x" * 5_000_000, "instances": [1.0]}):
        response = predict(client, HALF, body)
        assert error(response)
        assert len(response.data) <= 4096
    assert _still_serves(client)


@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_a_hundred_levels_are_more_than_a_tensor_has(client: FlaskClient, key: str) -> None:
    assert "at most 64 dimensions" in error(predict(client, "echo", f'{{"{key}": {A_HUNDRED_LEVELS}}}'))
    assert _still_serves(client)


def test_a_hundred_levels_where_nobody_looks_are_no_matter(client: FlaskClient) -> None:
    body = f'{{"instances": [1.0], "unknown": {A_HUNDRED_LEVELS}}}'
    assert result(predict(client, HALF, body)) == {"predictions": [2.5]}


def test_levels_without_end_are_refused(client: FlaskClient) -> None:
    body = '{"instances": ' + "[" * 500_000 + "]" * 500_000 + "}"
    assert error(predict(client, HALF, body)).startswith("JSON Parse error: ")
    assert _still_serves(client)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ('"x"', 'JSON Value: "x" Type: String is not of expected type: int32'),
        ("null", "JSON Value: null Type: Null is not of expected type: int32"),
        ("1.5", "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ("[1]", "Expecting shape [] but got: [1]"),
    ],
)
def test_a_wrong_last_row_of_a_hundred_thousand_is_found(client: FlaskClient, last: str, said: str) -> None:
    body = '{"instances": [' + "1, " * 99_999 + last + "]}"
    assert error(predict(client, "echo", body)).startswith(ELEMENT.format(99_999) + said)
    assert _still_serves(client)


def test_a_ragged_last_list_of_a_hundred_thousand_is_found(client: FlaskClient) -> None:
    body = json.dumps({"inputs": [[1, 2]] * 99_999 + [[1]]})
    assert "Encountered list at unexpected size: 1 at level: 1 expected size: 2" in error(predict(client, "echo", body))
    assert _still_serves(client)


def test_a_hundred_thousand_wrong_values_are_answered_with_one_short_error(client: FlaskClient) -> None:
    response = predict(client, HALF, {"instances": ["wrong"] * 100_000})
    assert error(response).startswith(ELEMENT.format(0))
    assert len(response.data) < 1024
    assert _still_serves(client)
