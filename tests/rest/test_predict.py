"""Bodies of predict requests, read fast where they are usual: the same tensors and the same errors as read slowly.

A byte order mark before a body makes it one for the slow way, which reads it with another parser.
"""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest.predict import read_predict
from serving.tensors.parse import parse
from serving.tensors.skim import FROM_BYTES
from serving.tensors.spec import TensorSpec
from tests.tensors.reference import DECIMALS, NUMPY, RANGES, outcome, reference_columns, reference_rows

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Input:
    """An input of a signature."""

    dtype: str
    rank: int | None


def signature(**inputs: Input) -> Signature:
    specs = {
        name: TensorSpec(name, "DT_" + its.dtype.upper(), None if its.rank is None else (None,) * its.rank)
        for name, its in sorted(inputs.items())
    }
    return Signature("", specs, {}, "")


def read(body: bytes, **inputs: Input) -> Any:
    """What a body says, to the bit, or the error."""
    signatures = {DEFAULT_SIGNATURE: signature(**inputs), "other": signature(x=Input("double", 1))}
    try:
        asked = read_predict(signatures, body)
    except ServingError as error:
        return error.message
    assert all(array.flags.c_contiguous for array in asked.inputs.values())
    return asked.in_rows, asked.signature is signatures["other"], outcome(lambda: asked.inputs)


def same(body: bytes, **inputs: Input) -> Any:
    """What a body says however it is read."""
    fast, slow = read(body, **inputs), read(BYTE_ORDER_MARK + body, **inputs)
    assert fast == slow
    return fast


# Documents, valid and not, as text: number tokens, escapes, repeated keys and white space are part of what is tested.


def words(text: str) -> list[str]:
    return text.split()


DECIMAL_TOKENS = words("""
    0 -0 -0.0 0.1 1e5 1E+2 25e-1 1e-400 -1e-400 5e-324 4.9e-324 2.5e-45 1e-40 8.5e-46 6e-8 1.7976931348623157e308 1e308
    3.4028235e38 3.4028236e38 3.4028235677973366e38 65520 65519.99 16777217 2049 9007199254740993 0.30000000000000004
    2.2250738585072011e-308 7.2057594037927933e16 123456789012345678901234567890 1.00000005960464477539062500000001
""")
INTEGER_TOKENS = [str(edge + step) for low, high in RANGES.values() for edge in (low, high) for step in (-1, 0, 1)]
STRING_TOKENS = words(r""" "" "a" "\u0061" "é" "\ud83d\ude00" "\u0000" "\n\"\\/\/" "},{" "aGk=" """)
BASE64_TOKENS = words(r"""
    {"b64":"aGk="} {"b64":"aGk"} {"b64":"aGl="} {"b64":""} {"b64":"\/+8="} {"b64":"\u0061Gk="} {"b64":"aGk\n"}
    {"b64":"!","b64":"eA=="} {"\u00624":"eA=="} {"\u006264":"eA=="} """)
WRONG_BASE64_TOKENS = words(r"""
    {"b64":"!"} {"b64":1} {"b64":null} {"b64":["aGk="]} {"b64":"a"} {"b64":"a==="} {"b64":"===="} {"b64":"aG-_"}
    {"b64":"aGk=aGk="} {"b64":"a=Gk"} {"b64":"é"} {"b64":"\ud800"} {"b64":"eA==","b64":"!"} {"B64":"eA=="}
    {"b64":"eA==","x":1} {"b64":"eA==} """)
WRONG_TOKENS = words(r"""
    true false null "1" 1.0 1e2 NaN -Infinity 1e999 01 1. - + .5 {} [] [1] [[]] , ] " "\ud800" "\udc00x" "\x" """)
WRONG_TOKENS += [BASE64_TOKENS[0], *WRONG_BASE64_TOKENS]
WRONG_TOKENS += ["", '"\x01"']
NUMBERS = st.one_of(
    st.sampled_from(DECIMAL_TOKENS),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
)
BASE64 = st.binary(max_size=20).map(lambda value: json.dumps({"b64": base64.b64encode(value).decode()}))
TOKENS = (
    dict.fromkeys(DECIMALS, NUMBERS)
    | {
        dtype: st.integers(low, high).map(str) | st.sampled_from([str(low), str(high), "-0", "1"])
        for dtype, (low, high) in RANGES.items()
    }
    | {"bool": st.sampled_from(["true", "false"])}
    | {"string": st.sampled_from(STRING_TOKENS + BASE64_TOKENS) | st.text(max_size=4).map(json.dumps) | BASE64}
)
MISTAKES = st.sampled_from(WRONG_TOKENS + INTEGER_TOKENS + STRING_TOKENS)
NAMES = ["a", "b", "é", "", 'q"', "b64"]
SIGNATURE_TOKENS = ['""', '"serving_default"', '"serving\\u005fdefault"', '"other"', '"no"', "1", '"x\\ud800"']
SPACES = st.sampled_from(["", "", "", " ", "\n\t"])


class Writer:
    """Writes a document by what is drawn, with at most some number of mistakes."""

    def __init__(self, draw: st.DrawFn, mistakes: int) -> None:
        self._draw = draw
        self._mistakes = mistakes

    def errs(self) -> bool:
        """Whether to make a mistake here."""
        makes = self._mistakes > 0 and self._draw(st.integers(0, 3)) == 0
        self._mistakes -= makes
        return makes

    def tensor(self, dtype: str, shape: tuple[int, ...]) -> str:
        if not shape:
            return self._draw(MISTAKES if self.errs() else TOKENS[dtype])
        elements = [self.tensor(dtype, shape[1:]) for _ in range(shape[0])]
        if self.errs():
            elements += [self._draw(MISTAKES)] if self._draw(st.booleans()) else elements[:1]
        return self.listed(elements)

    def object(self, members: list[tuple[str, str]]) -> str:
        if self._draw(st.booleans()):
            members = self._draw(st.permutations(members))
        if self.errs():
            members = [*members, (self._draw(st.sampled_from(NAMES)), self._draw(MISTAKES))]
        if self.errs():
            members = members[1:]
        return "{" + self._joined([json.dumps(name) + ":" + value for name, value in members]) + "}"

    def listed(self, elements: list[str]) -> str:
        return "[" + self._joined(elements) + "]"

    def _joined(self, parts: list[str]) -> str:
        space = self._draw(SPACES)
        return ",".join(space + part + space for part in parts)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, dict[str, Input]]:
    """The body of a request, in half of the cases with a mistake or two, and the inputs of the signature."""
    write = Writer(draw, draw(st.sampled_from([0, 0, 1, 2])))
    names = draw(st.sampled_from([["a"], ["a"], ["a"], ["a", "b"], ["a", "b"], ["é", "", "a"], NAMES]))
    inputs = {name: Input(draw(st.sampled_from(sorted(NUMPY))), draw(st.integers(0, 3))) for name in names}
    in_rows = draw(st.booleans())
    named = len(names) > 1 or draw(st.booleans())
    sizes = st.sampled_from([1, 2, 2, 3, 3, 0] if write.errs() else [1, 2, 3])
    shapes = {
        name: tuple(draw(sizes) for _ in range(max(its.rank - in_rows, 0) + write.errs()))
        for name, its in inputs.items()
    }

    def one() -> str:
        values = [(name, write.tensor(its.dtype, shapes[name])) for name, its in inputs.items()]
        return write.object(values) if named is not write.errs() else values[0][1]

    value = write.listed([one() for _ in range(draw(st.integers(1, 3)))]) if in_rows else one()
    padding = " " * draw(st.sampled_from([0, 0, FROM_BYTES]))
    members = [("instances" if in_rows else "inputs", padding + value)]
    if draw(st.booleans()):
        name = draw(st.sampled_from(SIGNATURE_TOKENS if write.errs() else SIGNATURE_TOKENS[:2]))
        members.insert(draw(st.integers(0, 1)), ("signature_name", name))
    text = write.object(members)
    if write.errs():
        text = text[: draw(st.integers(0, len(text)))]
    return text.encode(), inputs


properties = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@properties
@given(requests())
def test_a_body_says_what_the_reference_makes_of_it_however_it_is_read(request: tuple[bytes, dict[str, Input]]) -> None:
    body, inputs = request
    said = same(body, **inputs)
    try:
        document = parse(body)
    except ServingError:
        return
    if not isinstance(document, dict) or document.get("signature_name", "") not in ("", "serving_default"):
        return
    dtypes = {name: its.dtype for name, its in inputs.items()}
    rows, columns = document.get("instances"), document.get("inputs", ...)
    if (rows is None) is (columns is ...) or not (rows is None or (isinstance(rows, list) and rows)):
        assert isinstance(said, str)
    else:
        made = outcome(reference_columns, columns, dtypes) if rows is None else outcome(reference_rows, rows, dtypes)
        assert made == ("refused" if isinstance(said, str) else said[2])


# What is usual, and what almost is.

X = {"x": Input("float", 2)}
TABLE = {
    "age": Input("int64", 1),
    "amount": Input("float", 1),
    "country": Input("string", 1),
    "known": Input("bool", 1),
}
ROW = '{"age": 41, "amount": 12.5, "country": "FR", "known": true}'


def rows(text: str, **inputs: Input) -> Any:
    return same(f'{{"instances": {text}}}'.encode(), **inputs)


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_rows_of_named_scalars_are_columns_of_their_dtypes(count: int) -> None:
    other = '{"known": false, "country": "\\u00e9", "amount": 3, "age": -9223372036854775808}'
    asked = read_predict(
        {DEFAULT_SIGNATURE: signature(**TABLE)}, f'{{"instances": [{",".join([ROW, other] * count)}]}}'.encode()
    )
    assert {name: (array.dtype, array.tolist()) for name, array in asked.inputs.items()} == {
        "age": (np.int64, [41, -(2**63)] * count),
        "amount": (np.float32, [12.5, 3.0] * count),
        "country": (object, [b"FR", "é".encode()] * count),
        "known": (np.bool_, [True, False] * count),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"age": 41', '"age": true'), "1 key: age .* JSON Value: true Type: True is not of expected type: int64"),
        (('"age": 41', '"age": 41.0'), "1 key: age .* JSON Value: 41.0 Type: Number is not of expected type: int64"),
        (('"age": 41', '"age": 1e1'), "1 key: age .* JSON Value: 10.0 Type: Number is not of expected type: int64"),
        (
            ("41", "9223372036854775808"),
            "1 key: age .* JSON Value: 9223372036854775808 Type: Number is not of expected",
        ),
        (("12.5", "true"), "1 key: amount .* JSON Value: true Type: True is not of expected type: float"),
        (("12.5", "null"), "1 key: amount .* JSON Value: null Type: Null is not of expected type: float"),
        (("12.5", '"12.5"'), '1 key: amount .* JSON Value: "12.5" Type: String is not of expected type: float'),
        (("12.5", "[12.5]"), r"1 key: amount .* Expecting shape \[\] but got: \[1\]"),
        (('"FR"', "33"), "1 key: country .* JSON Value: 33 Type: Number is not of expected type: string"),
        (("true", "1"), "1 key: known .* JSON Value: 1 Type: Number is not of expected type: bool"),
        (('"age": 41, ', ""), "1 of 'instances' list. JSON object: .* keys must be equal to: age,amount,country,known"),
        (('"age": 41', '"age": 41, "z": 1'), "1 key: z of .* JSON object: does not have named input: z"),
        ((ROW, "[1]"), "Expecting object but got list at item 1 of input list"),
    ],
)
def test_the_row_and_the_name_that_do_not_fit_are_told(change: tuple[str, str], said: str) -> None:
    assert re.search(said, rows(f"[{ROW}, {ROW.replace(*change)}, {ROW}]", **TABLE), re.DOTALL)


@pytest.mark.parametrize(
    "change", [("41", "NaN"), ("12.5", "1e999"), ('"FR"', '"\\ud800"'), ('"FR"', '"F'), ("41,", "41")]
)
def test_rows_that_are_not_json_or_not_numbers_are_refused(change: tuple[str, str]) -> None:
    assert isinstance(rows(f"[{ROW}, {ROW.replace(*change)}]", **TABLE), str)


@pytest.mark.parametrize(
    ("text", "values"),
    [("NaN", [float("nan"), 1]), ("1e300", [float("inf"), 1]), ('{"b64": "aGk="}', None), ("1e-50", [0, 1])],
)
def test_what_is_unusual_is_read_all_the_same(text: str, values: list[float] | None) -> None:
    if values is None:
        assert rows(f'[{text}, "a"]', x=Input("string", 1))[2]["x"][2] == [b"hi", b"a"]
    else:
        assert rows(f"[{text}, 1]", x=Input("float", 1))[2]["x"][2] == np.array(values, np.float32).tobytes()


@given(st.lists(st.binary(max_size=300), min_size=1), st.sampled_from(["{}", '{{"x": {}}}']))
def test_base64_is_the_bytes_that_were_encoded(values: list[bytes], row: str) -> None:
    written = [row.format(json.dumps({"b64": base64.b64encode(value).decode()})) for value in values]
    assert rows(f"[{','.join(written)}]", x=Input("string", 1))[2]["x"][2] == values


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("wrong", WRONG_BASE64_TOKENS[:-1])
def test_the_element_whose_base64_is_wrong_is_told(wrong: str, named: bool) -> None:
    row = '{"x": %s}' if named else "%s"
    said = rows(f"[{row % BASE64_TOKENS[0]}, {row % wrong}]", x=Input("string", 1))
    assert re.search("Failed to process element: 1|at item 1|surrogate", said)


def test_an_object_of_b64_is_base64_whatever_the_name_of_the_input() -> None:
    assert rows('[{"b64": "aGk="}]', b64=Input("string", 1))[2]["b64"][2] == [b"hi"]


@pytest.mark.parametrize("known", ["true", '{"x": true}'])
@pytest.mark.parametrize("intruder", ['{"x": true}', "true", "1", "[true]"])
def test_rows_are_of_one_kind(known: str, intruder: str) -> None:
    said = rows(f"[{known}, {intruder}]", x=Input("bool", 1))
    assert isinstance(said, str) is (known != intruder)


@pytest.mark.parametrize(
    "text", ["[[1, 2], [3]]", "[[1, 2], [3], [4, 5, 6]]", "[[1, 2], [[3, 4]]]", "[[], [1]]", "[[1], 2]", "[]"]
)
@pytest.mark.parametrize("padding", [0, FROM_BYTES])
def test_ragged_lists_are_refused(text: str, padding: int) -> None:
    assert isinstance(rows(" " * padding + text, **X), str)
    assert isinstance(rows(text.replace("[", "[" + " " * padding), x=Input("string", 2)), str)


@pytest.mark.parametrize("values", ["[[1, 2], [3, 4]]", '[{"x": [1, 2]}, {"x": [3, 4]}]', "[[1.0, 2e0], [30e-1, 4]]"])
@pytest.mark.parametrize("padding", [0, FROM_BYTES])
def test_rows_may_be_bare_or_named(values: str, padding: int) -> None:
    tensors = rows(" " * padding + values, **X)[2]
    assert tensors["x"] == (np.float32, (2, 2), np.array([1, 2, 3, 4], np.float32).tobytes())


@pytest.mark.parametrize("rank", [0, 1, 2, 3, None])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_the_rank_of_the_signature_is_not_held_against_a_request(rank: int | None, key: str) -> None:
    tensors = same(f'{{"{key}": [[1, 2], [3, 4]]}}'.encode(), x=Input("int32", rank))[2]
    assert tensors["x"][1] == (2, 2)


def test_columns_are_whole_tensors() -> None:
    body = b'{"inputs": {"b": ["x", "y"], "a": [[1, 2]], "c": true}}'
    tensors = same(body, a=Input("int8", 2), b=Input("string", 1), c=Input("bool", 0))[2]
    assert {name: its[1] for name, its in tensors.items()} == {"a": (1, 2), "b": (2,), "c": ()}
    assert same(b'{"inputs": 5}', x=Input("int8", 0))[2]["x"] == (np.int8, (), b"\5")


# Around the tensors.


@pytest.mark.parametrize(
    ("body", "is_other"),
    [
        ('{"instances": [1, 2]}', False),
        ('{"signature_name": "", "instances": [1, 2]}', False),
        ('{"signature_name": "other", "instances": [1, 2]}', True),
        ('{"instances": [1, 2], "signature_name": "other"}', True),
        ('\n{ "instances" :[1, 2]\t, "signature_name" :"other" } ', True),
        ('{"signature_name": "oth\\u0065r", "instances": [1, 2]}', True),
        ('{"signature_name": "no", "instances": [1, 2], "signature_name": "other"}', True),
        ('{"instances": [1, 2], "signature_name": "no", "signature_name": "other"}', True),
        ('{"instances": 5, "instances": [1, 2]}', False),
        ('{"instances": [1, 2], "": "], \\"signature_name\\": \\"other\\""}', False),
    ],
)
def test_the_signature_is_the_one_that_the_body_names(body: str, is_other: bool) -> None:
    assert same(body.encode(), x=Input("float", 1))[1] is is_other


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [1], "inputs": [1]}',
        '{"inputs": [1], "signature_name": "no"}',
        '{"inputs": [1], "signature_name": 1}',
        '{"inputs": [1], "signature_name": "\\ud800"}',
        '{"inputs": [1], "signature_name": "other"',
        '{"inputs": [1] "signature_name": "other"}',
        '{"inputs": [1], "signature_name": "other" 5}',
        '{"inputs": , "signature_name": "other"}',
        '{"inputs": "x, "signature_name": "other"}',
        '{"inputs": [1]}}',
        '{"inputs": [1]} {}',
        '{"inputs": [1],}',
        '{"inputs": }',
        '{"inputs":',
        "{}",
        "",
    ],
)
def test_a_body_that_is_wrong_around_the_tensors_is_refused(body: str) -> None:
    assert isinstance(same(body.encode(), x=Input("float", 1)), str)


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    assert "Invalid encoding" in same(b'{"inputs": [1], "signature_name": "\xff"}', x=Input("float", 1))
