"""Examples of classify and regress: JSON objects in, features of one kind each out."""

import json
import math
from typing import Any

import pytest

from serving.errors import InvalidArgument
from serving.tensors.examples import Feature, decode_examples
from serving.tensors.parse import parse


def examples(text: str, context: str = "null") -> list[dict[str, tuple[str | None, list[Any]]]]:
    """Kind and values of each feature of each example."""
    decoded = decode_examples(parse(text.encode()), parse(context.encode()))
    return [{name: (feature.kind, feature.values) for name, feature in example.items()} for example in decoded]


def refusal(text: str, context: str = "null") -> str:
    with pytest.raises(InvalidArgument) as caught:
        examples(text, context)
    return caught.value.message


@pytest.mark.parametrize(
    ("content", "kind", "values"),
    [
        ('"foo"', "bytes", [b"foo"]),
        ('["foo", "é"]', "bytes", [b"foo", "é".encode()]),
        ('{"b64": "aGVsbG8="}', "bytes", [b"hello"]),
        ('["baz", {"b64": "/w"}]', "bytes", [b"baz", b"\xff"]),
        ("6.0", "float", [6.0]),
        ("[8.0, 9.5, 1e2, -Infinity]", "float", [8.0, 9.5, 100.0, -math.inf]),
        ("18446744073709551616", "float", [2.0**64]),
        ("20", "int64", [20]),
        ("[9223372036854775807, -9223372036854775808]", "int64", [2**63 - 1, -(2**63)]),
        ("[1, true, false]", "int64", [1, 1, 0]),
        ("true", "int64", [1]),
        ("[]", None, []),
    ],
)
def test_a_feature_is_of_the_kind_of_its_tokens(content: str, kind: str | None, values: list[Any]) -> None:
    assert examples(f'[{{"x": {content}}}]') == [{"x": (kind, values)}]


def test_not_a_number_is_a_decimal() -> None:
    ((kind, (value,)),) = examples('[{"x": NaN}]')[0].values()
    assert kind == "float"
    assert math.isnan(value)


def test_every_example_has_features_of_its_own() -> None:
    assert examples('[{"names": ["foo", "bar"], "age": 20}, {"names": "baz", "ratings": 6.0}, {}]') == [
        {"names": ("bytes", [b"foo", b"bar"]), "age": ("int64", [20])},
        {"names": ("bytes", [b"baz"]), "ratings": ("float", [6.0])},
        {},
    ]


def test_the_context_is_added_to_every_example_and_the_examples_own_value_wins() -> None:
    assert examples('[{"a": 1}, {"query": 2.5}, {"query": []}]', '{"query": "pizza", "location": ["sfo"]}') == [
        {"query": ("bytes", [b"pizza"]), "location": ("bytes", [b"sfo"]), "a": ("int64", [1])},
        {"query": ("float", [2.5]), "location": ("bytes", [b"sfo"])},
        {"query": (None, []), "location": ("bytes", [b"sfo"])},
    ]


def test_an_empty_context_adds_nothing() -> None:
    assert decode_examples([{"a": 1}], {}) == [{"a": Feature("int64", [1])}]


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        ("[]", "Array"),
        ('[{"names": 1}]', "Array"),
        ('"a"', "String"),
        ("1", "Number"),
        ("1.5", "Number"),
        ("true", "True"),
        ("false", "False"),
    ],
)
def test_an_example_and_the_context_are_objects(value: str, type_name: str) -> None:
    text = f"Example must be JSON object but got JSON {type_name}"
    assert refusal(f'[{{"a": 1}}, {value}]') == text
    assert refusal('[{"a": 1}]', context=value) == text


def test_an_example_is_not_null() -> None:
    assert refusal("[null]") == "Example must be JSON object but got JSON Null"


@pytest.mark.parametrize(
    ("element", "type_name"),
    [
        ("null", "Null"),
        ("[1]", "Array"),
        ("[]", "Array"),
        ("{}", "Object"),
        ('{"b64": 1}', "Object"),
        ('{"a": 1}', "Object"),
    ],
)
def test_null_lists_in_lists_and_other_objects_are_no_elements(element: str, type_name: str) -> None:
    text = f"Feature: names has element with unexpected JSON type: {type_name}"
    assert refusal(f'[{{"names": [{element}]}}]') == text
    assert refusal('[{"a": 1}]', context=f'{{"names": [{element}]}}') == text


@pytest.mark.parametrize("element", ["null", "{}", '{"b64": null}'])
def test_null_and_other_objects_are_no_features(element: str) -> None:
    assert refusal(f'[{{"names": {element}}}]').startswith("Feature: names has element with unexpected JSON type: ")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("[10, 10.0]", "int64"),
        ("[true, 10.0]", "int64"),
        ('[1, "a"]', "int64"),
        ("[1.0, 1]", "float"),
        ("[NaN, true]", "float"),
        ('[1.0, {"b64": ""}]', "float"),
        ('["a", 1]', "bytes"),
        ('[{"b64": ""}, false]', "bytes"),
        ('["a", 1.0]', "bytes"),
    ],
)
def test_the_kinds_of_a_feature_do_not_mix(content: str, kind: str) -> None:
    assert refusal(f'[{{"names": {content}}}]') == f"Unexpected element type in feature: names expecting type: {kind}"


@pytest.mark.parametrize("token", ["9223372036854775808", "18446744073709551615"])
def test_an_integer_beyond_int64_is_refused(token: str) -> None:
    text = "Feature: names has uint64_t element. Only int64_t is supported."
    assert refusal(f'[{{"names": {token}}}]') == text
    assert refusal(f'[{{"names": [1, {token}]}}]') == text


@pytest.mark.parametrize("text", ["a", "-_8=", "aGk=aGk="])
def test_bad_base64_is_refused(text: str) -> None:
    assert "Unable to base64 decode" in refusal(f'[{{"names": [{{"b64": "{text}"}}]}}]')


@pytest.mark.parametrize("content", ["[1, null]", "[1, 1.0]", "18446744073709551615", "[[1]]"])
@pytest.mark.parametrize("character", ["k", "😀"])
def test_an_error_shows_the_beginning_of_a_long_name_only(content: str, character: str) -> None:
    name = character * 1_000_000
    text = refusal(f'[{{"{name}": {content}}}]')
    assert name[:50] in text
    assert len(text.encode()) < 512


def test_an_error_about_a_long_string_is_short() -> None:
    assert len(refusal(json.dumps([{"names": {"b64": "!" * 1_000_000}}]))) < 512
    assert len(refusal(json.dumps(["a" * 1_000_000]))) < 512
