"""Bytes of JSON in, values or upstream's words for what is wrong out."""

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serving.errors import InvalidArgument
from serving.tensors.parse import parse

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

properties = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def refusal(body: bytes) -> str:
    with pytest.raises(InvalidArgument) as caught:
        parse(body)
    return caught.value.message


def exact(value: Any) -> str:
    """A text that is the same for the same values only: types, signs of zero and NaN count."""
    return repr(value)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"instances": [1, 2.5, true, false, null, "a"]}', {"instances": [1, 2.5, True, False, None, "a"]}),
        (b"5", 5),
        (b"null", None),
        (b"[]", []),
        (b"{}", {}),
        (b' \r\n\t{"a": [ ] } \n', {"a": []}),
        (b"[1e0, 2E+0, 25e-1]", [1.0, 2.0, 2.5]),
        (b"[0, 0.0, -0.0, -0e1]", [0, 0.0, -0.0, -0.0]),
        (b'"\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u00e9 \xc3\xa9"', '" \\ / \b \f \n \r \t é é'),
        (b'["\\ud83d\\ude00", "\xf0\x9f\x98\x80"]', ["😀", "😀"]),
        (b'["\\u0000", "\x7f"]', ["\0", "\x7f"]),
    ],
)
def test_reads_what_json_allows(body: bytes, value: Any) -> None:
    assert exact(parse(body)) == exact(value)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[NaN]", [math.nan]),
        (b'{"a": Infinity, "b": [-Infinity]}', {"a": math.inf, "b": [-math.inf]}),
        (b'[NaN, 1, 2.5, -0.0, true, null, "\\u00e9"]', [math.nan, 1, 2.5, -0.0, True, None, "é"]),
        (b'[NaN, "\\\\ud800"]', [math.nan, "\\ud800"]),
        (b"[NaN, 18446744073709551615, 18446744073709551616]", [math.nan, 2**64 - 1, 2.0**64]),
    ],
)
def test_reads_the_tokens_of_numbers_that_are_not_finite(body: bytes, value: Any) -> None:
    assert exact(parse(body)) == exact(value)


@pytest.mark.parametrize("beside", [b"", b", NaN"])
@pytest.mark.parametrize(
    ("token", "value"),
    [
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", 2**63),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"9" * 30, 1e30),
        (b"1" + b"0" * 308, 1e308),
    ],
)
def test_an_integer_is_exact_in_64_bits_and_a_double_beyond(token: bytes, value: int | float, beside: bytes) -> None:
    assert exact(parse(b"[" + token + beside + b"]")[0]) == exact(value)


@pytest.mark.parametrize("beside", [b"", b", NaN"])
@pytest.mark.parametrize("token", [b"1e999", b"-1e999", b"9" * 400, b"-" + b"9" * 5000, b"1.8e308"])
def test_a_number_beyond_a_double_is_too_big(token: bytes, beside: bytes) -> None:
    assert refusal(b"[" + token + beside + b"]") == "JSON Parse error: Number too big to be stored in double."


@pytest.mark.parametrize("body", [b"", b" \r\n\t", BYTE_ORDER_MARK])
def test_nothing_but_white_space_is_an_empty_document(body: bytes) -> None:
    assert refusal(body) == "JSON Parse error: The document is empty"


@pytest.mark.parametrize(
    ("body", "what", "offset"),
    [
        (b"{'instances': [1.0]}", "Missing a name for object member.", 1),
        (b"{bad", "Missing a name for object member.", 1),
        (b"{1: 2}", "Missing a name for object member.", 1),
        (b'{"a": 1,}', "Missing a name for object member.", 8),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a": 1 "b": 2}', "Missing a comma or '}' after an object member.", 8),
        (b'{"a": 1', "Missing a comma or '}' after an object member.", 7),
        (b'{"a": [1], "b": {"c": "}]"} "d"', "Missing a comma or '}' after an object member.", 28),
        (b"[1 2]", "Missing a comma or ']' after an array element.", 3),
        (b"[1", "Missing a comma or ']' after an array element.", 2),
        (b"[01]", "Missing a comma or ']' after an array element.", 2),
        (b'[{"a": "\\"{"} 1]', "Missing a comma or ']' after an array element.", 14),
        (b'{"instances": [1.0 /* c */]}', "Missing a comma or ']' after an array element.", 19),
        (b'{"instances": [1.0,]}', "Invalid value.", 19),
        (b"[tru]", "Invalid value.", 1),
        (b"[Inf]", "Invalid value.", 1),
        (b"[-NaN]", "Invalid value.", 1),
        (b"[nan]", "Invalid value.", 1),
        (b"[+1]", "Invalid value.", 1),
        (b"[.5]", "Invalid value.", 1),
        (b"[-]", "Invalid value.", 1),
        (b"[", "Invalid value.", 1),
        (b"[1.]", "Miss fraction part in number.", 2),
        (b"[1.e3]", "Miss fraction part in number.", 2),
        (b"[1e]", "Miss exponent in number.", 2),
        (b'["a', "Missing a closing quotation mark in string.", 1),
        (b'["\\x"]', "Invalid escape character in string.", 2),
        (b'["\\u12"]', "Incorrect hex digit after \\u escape in string.", 3),
        (b'["a\tb"]', "Invalid escape character in string.", 3),
        (b'["\xff"]', "Invalid encoding in string.", 2),
        (b'["\xed\xa0\x80"]', "Invalid encoding in string.", 2),
        (b'["\xc3\xa9" 1]', "Missing a comma or ']' after an array element.", 6),
    ],
)
def test_says_what_is_wrong_in_upstreams_words_with_the_offset_in_bytes(body: bytes, what: str, offset: int) -> None:
    assert refusal(body) == f"JSON Parse error: {what} at offset: {offset}"


@pytest.mark.parametrize("body", [b'{"instances": [1.0]} trailing', b"[1]\x00", b"{}}", b"[NaN] [NaN]", b"1 2"])
def test_text_after_the_document_is_an_error(body: bytes) -> None:
    assert "The document root must not be followed by other values." in refusal(body)


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'{"a": NaN, "a": 2}'])
def test_of_a_repeated_key_the_last_counts(body: bytes) -> None:
    assert parse(body) == {"a": 2}


@pytest.mark.parametrize(
    "string", [b'"\\ud800"', b'"\\udc00"', b'"\\udc00\\ud800"', b'"\\ud800\\ud800"', b'"a\\uDBFFb"', b'{"\\ud800": 1}']
)
@pytest.mark.parametrize("beside", [b"", b", NaN"])
def test_a_surrogate_without_its_pair_is_an_error(string: bytes, beside: bytes) -> None:
    assert refusal(b"[" + string + beside + b"]") == "JSON Parse error: The surrogate pair in string is invalid."


@pytest.mark.parametrize("document", [b'{"instances": [1.0]}', b"[NaN]", b' ["\\u00e9"]'])
def test_a_byte_order_mark_is_skipped(document: bytes) -> None:
    assert exact(parse(BYTE_ORDER_MARK + document)) == exact(parse(document))


def nested(levels: int, core: bytes) -> bytes:
    return b"[" * levels + core + b"]" * levels


@pytest.mark.parametrize("levels", [99, 100])
@pytest.mark.parametrize("core", [b"1", b"NaN", b'NaN, "\\u0041"', b""])
def test_reads_100_levels(core: bytes, levels: int) -> None:
    value = parse(nested(levels, core))
    for _ in range(levels - 1):
        (value,) = value
    assert exact(value) == exact(parse(b"[" + core + b"]"))


@pytest.mark.parametrize("core", [b"1", b"NaN", b"", b'NaN, "\\u0041"', b'"[[]]", "\\""'])
@pytest.mark.parametrize("levels", [101, 500, 2_000, 500_000])
def test_refuses_more_levels(levels: int, core: bytes) -> None:
    too_deep = "JSON Parse error: Nested deeper than 100 levels, the limit of SERVING_MAX_JSON_DEPTH."
    assert refusal(nested(levels, core)) == too_deep
    assert refusal(b"[1, " * levels + b"2" + b"]" * levels) == too_deep
    assert refusal(b'{"a":' * levels + b"NaN" + b"}" * levels) == too_deep
    assert refusal(b'{"a": [' * levels + b"]}" * levels) == too_deep


def test_brackets_beside_each_other_and_in_strings_are_no_levels() -> None:
    assert parse(b"[" + b"[[]], " * 500 + b"{}]") == [[[]]] * 500 + [{}]
    assert parse(b'["' + b"[{" * 500 + b'"]') == ["[{" * 500]


def test_reads_a_string_of_5_megabytes() -> None:
    assert parse(b'["' + b"a" * 5_000_000 + b'", NaN]')[0] == "a" * 5_000_000


@pytest.mark.parametrize("piece", [b"a", b"\\n"])
def test_explains_a_missing_comma_after_a_long_string_in_little_memory(piece: bytes) -> None:
    body = b'["' + piece * (4_000_000 // len(piece)) + b'" 1]'
    tracemalloc.start()
    try:
        assert "Missing a comma or ']' after an array element." in refusal(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(body)


def test_the_text_of_an_error_does_not_grow_with_the_document() -> None:
    for body in (
        b'["' + b"a" * 1_000_000,
        b"[" + b"1, " * 300_000,
        b"b" * 1_000_000,
        b'{"' + b"k" * 1_000_000 + b'" 1',
    ):
        assert len(refusal(body).encode()) < 200


numbers = st.floats() | st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def reference(text: str) -> Any:
    """What Python's own parser reads, with the rule for integers beyond 64 bits."""

    def integer(token: str) -> int | float:
        return int(token) if -(2**63) <= int(token) < 2**64 else float(token)

    return json.loads(text, parse_int=integer)


@properties
@given(documents, st.booleans(), st.sampled_from([None, 1]))
def test_reads_every_document_as_pythons_parser_does(document: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert exact(parse(text.encode())) == exact(reference(text))


PIECES = [
    *'[]{},:"\\ .-+eE019',
    "NaN",
    "Infinity",
    "true",
    "nul",
    "\\u12",
    "\\ud83d",
    "\\ude00",
    "é",
    "1e999",
    "9" * 25,
]
spoilt = st.tuples(documents, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.sampled_from(PIECES))))


@properties
@given(spoilt)
@example(([], [(0, 2, "[NaN]")]))
def test_a_spoilt_document_is_read_as_pythons_parser_does_or_refused(changes: tuple[Any, list[Any]]) -> None:
    document, edits = changes
    text = json.dumps(document)
    for position, dropped, inserted in edits[:3]:
        text = text[:position] + inserted + text[position + dropped :]
    read = outcome(text.encode())
    assert read.startswith("JSON Parse error: ") or read == exact(reference(text))
    assert outcome(BYTE_ORDER_MARK + text.encode()) == read


def outcome(body: bytes) -> str:
    try:
        return exact(parse(body))
    except InvalidArgument as error:
        return error.message
