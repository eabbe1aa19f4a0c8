"""JSON values as error texts show them."""

from typing import Any

import pytest

from serving.tensors.echo import LIMIT, cut, echo, type_name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "Null"),
        (False, "False"),
        (True, "True"),
        ({}, "Object"),
        ([], "Array"),
        ("", "String"),
        (0, "Number"),
        (1.5, "Number"),
        (float("nan"), "Number"),
    ],
)
def test_types_have_upstreams_names(value: Any, name: str) -> None:
    assert type_name(value) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (18446744073709551615, "18446744073709551615"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (None, "null"),
        (True, "true"),
        ("x", '"x"'),
        ('é"\n\0', '"é\\"\\n\\u0000"'),
        ([], "[]"),
        ([1, [2, "a"], []], '[1, [2, "a"], []]'),
        ({}, "{}"),
        ({"signature_name": 100}, '{\n    "signature_name": 100\n}'),
        ({"a": 1, 'b"': [2, 3]}, '{\n    "a": 1,\n    "b\\"": [2, 3]\n}'),
        ({"a": {"b": {}, "c": 1}}, '{\n    "a": {\n        "b": {},\n        "c": 1\n    }\n}'),
    ],
)
def test_a_value_has_upstreams_layout(value: Any, text: str) -> None:
    assert echo(value) == text


def deep(levels: int, as_object: bool) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if as_object else [value]
    return value


@pytest.mark.parametrize(
    ("value", "beginning"),
    [
        ("a" * 5_000_000, '"aaaa'),
        ("😀" * 5_000_000, '"😀😀'),
        ("\0" * 5_000_000, '"\\u0000'),
        (list(range(100_000)), "[0, 1, 2, 3"),
        ([[]] * 100_000, "[[], [], []"),
        ({str(number): number for number in range(100_000)}, '{\n    "0": 0,\n    "1": 1'),
        ({"k" * 5_000_000: 1}, '{\n    "kkkk'),
        (["a" * 1_000_000] * 100, '["aaaa'),
        (deep(1000, as_object=False), "[[[["),
        (deep(1000, as_object=True), '{\n    "a": {\n        "a": {'),
    ],
)
def test_a_large_value_is_cut(value: Any, beginning: str) -> None:
    text = echo(value)
    assert text.startswith(beginning)
    assert LIMIT - 4 < len(text.encode()) <= LIMIT


@pytest.mark.parametrize("extra", [-1, 0])
def test_a_value_of_the_limit_is_whole(extra: int) -> None:
    value = "a" * (LIMIT - 2 + extra)
    assert echo(value) == f'"{value}"'


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("", 3, ""),
        ("éé", 3, "é"),
        ("😀", 3, ""),
        ("a😀", 5, "a😀"),
        ("abc", 0, ""),
    ],
)
def test_a_text_is_cut_by_bytes_and_never_inside_a_character(text: str, limit: int, shown: str) -> None:
    assert cut(text, limit) == shown
