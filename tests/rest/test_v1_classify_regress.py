"""Classify and regress over HTTP: JSON objects become tf.train.Example; `s` of the model is 0.5 * x + 2 + y."""

import math
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.rest.api import error, post, result, text_of

MODEL = "examples"
BOTH = pytest.mark.parametrize("verb", ["classify", "regress"])


def run(client: FlaskClient, verb: str, examples: Any, signature: str = "", context: Any = None) -> Any:
    """The answer of MODEL; `examples` is a list, or its text."""
    return post(client, f"{MODEL}:{verb}", body(examples, signature, context))


def body(examples: Any, signature: str = "", context: Any = None) -> str:
    shared = "" if context is None else f'"context": {text_of(context)}, '
    return f'{{"signature_name": "{signature}", {shared}"examples": {text_of(examples)}}}'


# Answers.


def test_regress_answers_one_value_an_example(client: FlaskClient) -> None:
    assert result(run(client, "regress", [{"x": 80.0}, {"x": [2.0]}, {"x": 0.0, "y": 1.5}])) == {
        "results": [42.0, 3.0, 3.5]
    }


def test_regress_takes_outputs_of_one_dimension_too(client: FlaskClient) -> None:
    assert result(run(client, "regress", [{"x": 2.0}, {"x": 4.0}], "regress_vector")) == {"results": [3.0, 4.0]}


def test_classify_answers_pairs_of_label_and_score(client: FlaskClient) -> None:
    assert result(run(client, "classify", [{"x": 2.0}, {"x": 4.0}], "classify")) == {
        "results": [[["low", 3.0], ["high", 6.0]], [["low", 4.0], ["high", 8.0]]]
    }


def test_a_label_that_the_model_lacks_is_empty(client: FlaskClient) -> None:
    assert result(run(client, "classify", [{"x": 2.0}], "classify_scores")) == {"results": [[["", 3.0], ["", 6.0]]]}


def test_a_score_that_the_model_lacks_is_zero(client: FlaskClient) -> None:
    response = run(client, "classify", [{"x": 2.0}], "classify_classes")
    assert response.data == b'{"results":[[["low",0.0],["high",0.0]]]}'


def test_a_classifier_without_classes_answers_empty_lists(client: FlaskClient) -> None:
    response = post(client, "contrary_examples:classify", body([{}], "classify_no_classes"))
    assert result(response) == {"results": [[]]}


def test_values_that_are_not_finite_go_in_and_come_out(client: FlaskClient) -> None:
    values = result(run(client, "regress", '[{"x": NaN}, {"x": Infinity}, {"x": -Infinity}, {"x": 1e39}]'))["results"]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, math.inf]


def test_the_answer_says_which_version_gave_it(client: FlaskClient) -> None:
    assert run(client, "regress", [{"x": 80.0}]).headers["X-Model-Version"] == "1"


# Examples.


@pytest.mark.parametrize("model", ["examples", "old examples"])
def test_an_integer_for_a_feature_that_the_model_parses_as_float_is_a_float(client: FlaskClient, model: str) -> None:
    assert result(post(client, f"{model}:regress", body([{"x": 2}, {"x": [-4]}]))) == {"results": [3.0, 0.0]}


def test_every_kind_of_feature_is_taken(client: FlaskClient) -> None:
    examples = [{"x": 2.0, "tags": ["a", {"b64": "/w=="}], "weights": [1.5, 2.5], "count": 3, "unknown": [True, 1]}]
    assert result(run(client, "regress", examples)) == {"results": [3.0]}


@pytest.mark.parametrize("value", [[], {"b64": ""}, "", -9223372036854775808, 9223372036854775807, True, [False, 7]])
def test_a_feature_may_be_empty_or_at_its_limits(client: FlaskClient, value: Any) -> None:
    assert result(run(client, "regress", [{"x": 2.0, "unknown": value}])) == {"results": [3.0]}


def test_context_is_part_of_each_example_and_the_examples_own_value_wins(client: FlaskClient) -> None:
    response = run(client, "regress", [{"x": 2.0}, {"x": 2.0, "y": 10.0}, {}], context={"x": 80.0, "y": 1.0})
    assert result(response) == {"results": [4.0, 13.0, 43.0]}


def test_an_empty_context_is_no_context(client: FlaskClient) -> None:
    assert result(run(client, "regress", [{"x": 2.0}], context={})) == {"results": [3.0]}


# What is wrong with the request, in the order of the checks, before the model is looked for.


@BOTH
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("{bad", "JSON Parse error: "),
        ("[]", "JSON Value: [] Is not object"),
        ('{"signature_name": 5, "context": 5}', "'signature_name' key must be a string value."),
        ('{"context": 5}', "Example must be JSON object but got JSON Number"),
        ('{"context": null, "examples": [{}]}', "Example must be JSON object but got JSON Null"),
        ('{"context": [{"x": 1.0}], "examples": 5}', "Example must be JSON object but got JSON Array"),
        ('{"context": {"x": [1, 1.0]}}', "Unexpected element type in feature: x expecting type: int64"),
        (
            '{"instances": [1.0]}',
            "JSON Value: {\n    \"instances\": [1.0]\n} When method is classify, key 'examples' is expected and was "
            "not found",
        ),
        ('{"context": {"x": 1.0}}', "When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": {"x": 1.0}}', "Expecting 'examples' value to be an list/array"),
        ('{"examples": null}', "Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "'examples' value is an empty array"),
        ('{"examples": [[{"x": 1.0}]]}', "Example must be JSON object but got JSON Array"),
        ('{"examples": [{"x": 1.0}, "x"]}', "Example must be JSON object but got JSON String"),
        ('{"examples": [true]}', "Example must be JSON object but got JSON True"),
        ('{"examples": [{"names": null}]}', "Feature: names has element with unexpected JSON type: Null"),
        ('{"examples": [{"names": [10, null]}]}', "Feature: names has element with unexpected JSON type: Null"),
        ('{"examples": [{"names": [[1]]}]}', "Feature: names has element with unexpected JSON type: Array"),
        ('{"examples": [{"names": {}}]}', "Feature: names has element with unexpected JSON type: Object"),
        ('{"examples": [{"names": {"b64": 1}}]}', "Feature: names has element with unexpected JSON type: Object"),
        ('{"examples": [{"names": {"b64": "%"}}]}', "Unable to base64 decode"),
        ('{"examples": [{"names": [10, 10.0]}]}', "Unexpected element type in feature: names expecting type: int64"),
        ('{"examples": [{"names": [true, "x"]}]}', "Unexpected element type in feature: names expecting type: int64"),
        ('{"examples": [{"names": [1.0, 1]}]}', "Unexpected element type in feature: names expecting type: float"),
        ('{"examples": [{"names": ["x", 1]}]}', "Unexpected element type in feature: names expecting type: bytes"),
        (
            '{"examples": [{"names": 9223372036854775808}]}',
            "Feature: names has uint64_t element. Only int64_t is supported.",
        ),
    ],
)
def test_the_first_thing_wrong_is_said_before_the_model_is_looked_for(
    client: FlaskClient, verb: str, body: str, said: str
) -> None:
    for model in ("nobody", MODEL):
        assert said in error(post(client, f"{model}:{verb}", body))


@BOTH
def test_then_comes_the_model(client: FlaskClient, verb: str) -> None:
    good = body([{"x": 1.0}], "no")
    assert error(post(client, f"nobody:{verb}", good), 404) == "Servable not found for request: Latest(nobody)"
    assert error(post(client, f"nobody/versions/5:{verb}", good), 404) == (
        "Servable not found for request: Specific(nobody, 5)"
    )
    assert error(post(client, f"{MODEL}/labels/no:{verb}", good)) == "Unrecognized servable version label: no"


@BOTH
def test_then_comes_the_signature(client: FlaskClient, verb: str) -> None:
    assert error(run(client, verb, [{"x": 1.0}], "no")) == "No signature was found with the name: no"
    missing = post(client, f"contrary_examples:{verb}", '{"examples": [{}]}')
    assert error(missing) == "No signature was found with the name: serving_default"


# Signatures that were not made for it.


@pytest.mark.parametrize(
    ("model", "verb", "signature", "said"),
    [
        ("half_plus_two", "classify", "", "No classification inputs found in SignatureDef: "),
        ("half_plus_two", "regress", "", "No regression inputs found in SignatureDef: "),
        ("several_inputs", "classify", "", "Expected one input Tensor."),
        ("several_inputs", "regress", "", "Expected one input Tensor."),
        ("several_signatures", "regress", "constant", "Expected one input Tensor."),
        (
            MODEL,
            "classify",
            "regress",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was: ",
        ),
        (MODEL, "regress", "classify", "Expected one output Tensor."),
        (MODEL, "regress", "classify_scores", "No regression outputs found in SignatureDef: "),
        ("contrary_examples", "regress", "regress_other_name", "No regression outputs found in SignatureDef: "),
        ("contrary_examples", "regress", "regress_two_outputs", "Expected one output Tensor."),
        ("contrary_examples", "classify", "classify_three_outputs", "Expected one or two output Tensors, found 3"),
    ],
)
def test_a_signature_that_cannot_do_it_is_refused(
    client: FlaskClient, model: str, verb: str, signature: str, said: str
) -> None:
    assert error(post(client, f"{model}:{verb}", body([{"x": 1.0}], signature))).startswith(said)


def test_the_error_shows_the_signature(client: FlaskClient) -> None:
    text = error(run(client, "classify", [{"x": 1.0}], "regress"))
    assert 'key: "outputs"' in text
    assert 'method_name: "tensorflow/serving/regress"' in text


def test_the_method_name_and_the_dtype_that_a_signature_declares_are_not_believed(client: FlaskClient) -> None:
    assert result(run(client, "regress", [{"x": 2.0}], "lying")) == {"results": [3.0]}


# Outputs that are not as they should be.


@pytest.mark.parametrize(
    ("verb", "signature", "examples", "said"),
    [
        (
            "regress",
            "regress_pairs",
            2,
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        ("regress", "regress_int", 1, "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    ],
)
def test_a_regressor_with_other_outputs_is_refused(
    client: FlaskClient, verb: str, signature: str, examples: int, said: str
) -> None:
    assert error(run(client, verb, [{"x": 1.0}] * examples, signature)) == said


@pytest.mark.parametrize(
    ("signature", "examples", "said"),
    [
        ("regress_one_value", 2, "Input batch size did not match output batch size: 2 vs. 1"),
        (
            "regress_scalar",
            1,
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
        ),
        ("classify_one_row", 2, "Expected scores output batch size of 2. Got: 1"),
        ("classify_vector", 2, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("classify_integers", 1, "Expected scores Tensor of DT_FLOAT. Got: DT_INT32"),
        ("classify_numbered", 1, "Expected classes Tensor of DT_STRING. Got: DT_INT32"),
        ("classify_more_scores", 1, "Tensors class and score should match in dim_size(1). Got 1 vs. 2"),
    ],
)
def test_outputs_that_do_not_fit_the_examples_are_refused(
    client: FlaskClient, signature: str, examples: int, said: str
) -> None:
    verb = signature.partition("_")[0]
    assert error(post(client, f"contrary_examples:{verb}", body([{}] * examples, signature))) == said


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({}, "Feature: x (data type: float) is required but could not be found."),
        ({"x": "a"}, "Data types don't match. Data type: string but expected type: float"),
        ({"x": [1.0, 2.0]}, "Number of float values != expected. Values size: 2 but output shape: [1]"),
        ({"x": 1.0, "count": 1.5}, "Data types don't match. Data type: float but expected type: int64"),
    ],
)
def test_an_example_that_the_model_cannot_parse_is_refused_in_tensorflows_words(
    client: FlaskClient, example: Any, said: str
) -> None:
    assert said in error(run(client, "regress", [{"x": 1.0}, example]))
    assert result(run(client, "regress", [{"x": 2.0}])) == {"results": [3.0]}


def test_examples_for_a_model_that_does_not_take_any_are_refused(client: FlaskClient) -> None:
    said = error(post(client, "several_signatures:regress", body([{"x": 1.0}], "negate")))
    assert said.startswith("No regression inputs found in SignatureDef: ")


def test_ten_thousand_examples_are_answered_in_order(client: FlaskClient) -> None:
    response = run(client, "regress", [{"x": float(2 * index)} for index in range(10_000)])
    assert result(response) == {"results": [index + 2.0 for index in range(10_000)]}


def test_a_serialized_example_can_be_sent_to_predict(client: FlaskClient) -> None:
    example = "Cg8KDQoBeBIIEgYKBAAAAEA="  # tf.train.Example with the float feature x = 2
    response = post(client, f"{MODEL}:predict", {"signature_name": "regress", "instances": [{"b64": example}]})
    assert result(response) == {"predictions": [[3.0]]}
