"""JSON values in, tensors or upstream's words for what is wrong out; at the end, against a slow obvious reference."""

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import InvalidArgument, ServingError, Unimplemented
from serving.tensors.decode import decode_columns, decode_rows, decode_string, decode_tensor, is_base64
from serving.tensors.parse import parse
from serving.tensors.spec import Array, TensorSpec
from tests.tensors.reference import (
    DECIMALS,
    INTEGERS,
    NUMPY,
    RANGES,
    outcome,
    reference_columns,
    reference_rows,
    reference_tensor,
)

MESSAGE_LIMIT = 2048


def specs(**dtypes: str) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, "DT_" + dtype.upper(), None) for name, dtype in dtypes.items()}


def columns(text: str, **dtypes: str) -> dict[str, Array]:
    """The tensors of `{"inputs": <text>}` to a signature that has inputs of these dtypes."""
    return decode_columns(parse(text.encode()), specs(**dtypes))


def rows(text: str, **dtypes: str) -> dict[str, Array]:
    """The tensors of `{"instances": <text>}` to a signature that has inputs of these dtypes."""
    return decode_rows(parse(text.encode()), specs(**dtypes))


def assert_refused(decode: Any, value: str, dtypes: Mapping[str, str], upstream: str, hint: str = "") -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode(value, **dtypes)
    assert caught.value.message == upstream + hint


def assert_tensor(array: Array, dtype: str, values: Any, shape: tuple[int, ...]) -> None:
    assert array.dtype == NUMPY[dtype]
    assert array.shape == shape
    assert array.tobytes() == np.array(values, dtype=NUMPY[dtype]).tobytes()


# What each dtype accepts.


@pytest.mark.parametrize("dtype", DECIMALS)
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1, 2.0, -3, 0.5, 1e1, 25e-1]", [1, 2, -3, 0.5, 10, 2.5]),
        ("[NaN, Infinity, -Infinity]", [math.nan, math.inf, -math.inf]),
        ("[1e308, -1e308]", None),
        ("[18446744073709551615, -9223372036854775808]", None),
        ("[1e-320, -1e-320]", None),
    ],
)
def test_a_decimal_takes_any_number(dtype: str, text: str, values: list[float] | None) -> None:
    if values is None:
        with np.errstate(over="ignore"):
            values = [float(value) for value in np.array(json.loads(text), np.float64).astype(NUMPY[dtype])]
    assert_tensor(columns(text, x=dtype)["x"], dtype, values, (len(values),))
    assert_tensor(rows(text, x=dtype)["x"], dtype, values, (len(values),))


@pytest.mark.parametrize(
    ("dtype", "largest", "beyond"),
    [("half", "65504", "65520"), ("bfloat16", "3.3895e38", "3.4e38"), ("float", "3.4028234e38", "3.4028236e38")],
)
def test_a_decimal_beyond_the_range_of_its_dtype_is_an_infinity(dtype: str, largest: str, beyond: str) -> None:
    array = columns(f"[{largest}, {beyond}, -{beyond}]", x=dtype)["x"].astype(np.float64)
    assert np.isfinite(array[0])
    assert array[1:].tolist() == [math.inf, -math.inf]


def test_an_integer_beyond_the_range_of_half_is_an_infinity() -> None:
    assert columns("[100000, -100000]", x="half")["x"].tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize("dtype", DECIMALS)
def test_the_sign_of_zero_is_kept(dtype: str) -> None:
    assert np.signbit(columns("[-0.0, 0.0, -0e0, 0]", x=dtype)["x"]).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("float", "1435774380", 1435774336.0),
        ("float", "1435774380.0", 1435774336.0),
        ("float", "16777217", 16777216.0),
        ("double", "9007199254740993", 9007199254740992.0),
        ("half", "2049", 2048.0),
        ("bfloat16", "257", 256.0),
    ],
)
def test_a_number_may_lose_precision_to_a_decimal(dtype: str, text: str, value: float) -> None:
    assert columns(text, x=dtype)["x"].astype(np.float64) == value


@pytest.mark.parametrize("dtype", INTEGERS)
def test_an_integer_takes_all_of_its_range_exactly(dtype: str) -> None:
    low, high = RANGES[dtype]
    array = columns(f"[{low}, {high}, 0, 1, {high - 1}]", x=dtype)["x"]
    assert array.dtype == NUMPY[dtype]
    assert array.tolist() == [low, high, 0, 1, high - 1]
    assert rows(f"[{low}, {high}]", x=dtype)["x"].tolist() == [low, high]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("side", [0, 1])
def test_an_integer_out_of_range_is_refused_with_the_range(dtype: str, side: int) -> None:
    low, high = RANGES[dtype]
    value = parse(str((low - 1, high + 1)[side]).encode())
    holds = f", which holds {low} to {high}" if type(value) is int else ""
    with pytest.raises(InvalidArgument) as caught:
        decode_columns([0, value], specs(x=dtype))
    assert caught.value.message == (
        f'JSON Value: {value} Type: Number is not of expected type: {dtype} (input "x", index [1]){holds}'
    )


def test_a_boolean_takes_true_and_false() -> None:
    assert_tensor(columns("[true, false]", x="bool")["x"], "bool", [True, False], (2,))


@pytest.mark.parametrize("zero", ["-0", "0"])
def test_an_integer_zero_has_no_sign(zero: str) -> None:
    assert columns(zero, x="int32")["x"] == 0


NOT_A_NUMBER = [("true", "True"), ("false", "False"), ("null", "Null"), ('"1"', "String"), ('"NaN"', "String")]
NOT_AN_INTEGER = [*NOT_A_NUMBER, ("1.0", "Number"), ("10.0", "Number"), ("NaN", "Number"), ("-Infinity", "Number")]
NOT_A_BOOLEAN = [("0", "Number"), ("1", "Number"), ("1.0", "Number"), ('"true"', "String"), ("null", "Null")]
NOT_A_STRING = [("true", "True"), ("null", "Null"), ("1", "Number"), ("1.5", "Number"), ("NaN", "Number")]
MISMATCHES = [
    *((dtype, *case) for dtype in DECIMALS for case in NOT_A_NUMBER),
    *((dtype, *case) for dtype in INTEGERS for case in NOT_AN_INTEGER),
    *(("bool", *case) for case in NOT_A_BOOLEAN),
    *(("string", *case) for case in NOT_A_STRING),
]


@pytest.mark.parametrize(("dtype", "value", "type_name"), MISMATCHES)
def test_a_value_of_another_type_is_refused(dtype: str, value: str, type_name: str) -> None:
    upstream = f"JSON Value: {value} Type: {type_name} is not of expected type: {dtype}"
    in_row_0 = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
    assert_refused(columns, value, {"x": dtype}, upstream, ' (input "x")')
    assert_refused(columns, f"[[{value}]]", {"x": dtype}, upstream, ' (input "x", index [0,0])')
    assert_refused(rows, f"[{value}]", {"x": dtype}, in_row_0 + upstream, ' (input "x")')


@pytest.mark.parametrize("dtype", [dtype for dtype in NUMPY if dtype != "string"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [('{"b64": "aGk="}', '{\n    "b64": "aGk="\n}'), ('{"a": 1}', '{\n    "a": 1\n}'), ("{}", "{}")],
)
def test_an_object_is_no_number(dtype: str, value: str, shown: str) -> None:
    upstream = f"JSON Value: {shown} Type: Object is not of expected type: {dtype}"
    assert_refused(columns, f"[{value}]", {"x": dtype}, upstream, ' (input "x", index [0])')


# Strings.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('""', b""),
        ('"hello"', b"hello"),
        ('"é😀"', "é😀".encode()),
        ('"\\u0000a\\u0000"', b"\0a\0"),
        ('{"b64": ""}', b""),
        ('{"b64": "aGVsbG8="}', b"hello"),
        ('{"b64": "aGVsbG8"}', b"hello"),
        ('{"b64": "aGVs bG8="}', b"hello"),
        ('{"b64": "\\taGVs\\r\\nbG8=\\n"}', b"hello"),
        ('{"b64": "aA=="}', b"h"),
        ('{"b64": "aA"}', b"h"),
        ('{"b64": "+/+/AP8="}', b"\xfb\xff\xbf\x00\xff"),
    ],
)
def test_a_string_is_its_utf8_bytes_or_base64(text: str, value: bytes) -> None:
    assert columns(text, x="string")["x"].item() == value
    assert rows(f"[{text}]", x="string")["x"].tolist() == [value]
    assert rows(f"[[{text}], [{text}]]", x="string")["x"].tolist() == [[value], [value]]
    assert decode_string(json.loads(text)) == value


@pytest.mark.parametrize(
    "text", ["aGVsbG8==", "a", "=", "aGVsb", "aGVs=bG8", "aGk=aGk=", "a-_b", "aGk!", "é", "aGk=====", "a\0Gk="]
)
def test_bad_base64_is_refused(text: str) -> None:
    document = json.dumps([{"b64": text}])
    prefix = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
    assert_refused(columns, document, {"x": "string"}, "Unable to base64 decode", ' (input "x", index [0])')
    assert_refused(rows, document, {"x": "string"}, prefix + "Unable to base64 decode", ' (input "x")')


@pytest.mark.parametrize("value", ['{"b64": 1}', '{"b64": null}', '{"b64": "aGk=", "c": 1}', '{"B64": "aGk="}', "{}"])
def test_an_object_that_is_not_base64_is_no_string(value: str) -> None:
    with pytest.raises(
        InvalidArgument, match=r"^JSON Value: \{[^}]*\} not formatted correctly for base64 data \(input"
    ):
        columns(f"[{value}]", x="string")


def test_plain_and_base64_strings_may_be_mixed() -> None:
    text = '[["a", {"b64": "Yg=="}], [{"b64": "Yw"}, "d"]]'
    assert columns(text, x="string")["x"].tolist() == [[b"a", b"b"], [b"c", b"d"]]
    assert rows(text, x="string")["x"].tolist() == [[b"a", b"b"], [b"c", b"d"]]


def test_a_string_of_5_megabytes_is_read() -> None:
    plain, coded = "a" * 5_000_000, base64.b64encode(b"b" * 5_000_000).decode()
    tensor = decode_tensor([plain, {"b64": coded}], specs(x="string")["x"])
    assert tensor.tolist() == [b"a" * 5_000_000, b"b" * 5_000_000]


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ({"b64": ""}, True),
        ({"b64": "not base64!"}, True),
        ({"b64": 1}, False),
        ({"b64": "", "a": 1}, False),
        ({}, False),
        ("b64", False),
        ([{"b64": ""}], False),
    ],
)
def test_base64_is_an_object_of_that_one_string(value: Any, answer: bool) -> None:
    assert is_base64(value) is answer


# Shapes.


@pytest.mark.parametrize("dtype", NUMPY)
def test_a_column_may_be_a_scalar(dtype: str) -> None:
    text, value = {"bool": ("true", True), "string": ('"a"', b"a")}.get(dtype, ("7", 7))
    assert_tensor(columns(text, x=dtype)["x"], dtype, value, ())
    assert_tensor(columns(f'{{"x": {text}}}', x=dtype)["x"], dtype, value, ())


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize(
    ("text", "shape"),
    [("[]", (0,)), ("[[]]", (1, 0)), ("[[], []]", (2, 0)), ("[[[]], [[]]]", (2, 1, 0)), ("[[[], []]]", (1, 2, 0))],
)
def test_empty_lists_have_a_shape(dtype: str, text: str, shape: tuple[int, ...]) -> None:
    assert_tensor(columns(text, x=dtype)["x"], dtype, [], shape)
    if shape[0]:
        assert_tensor(rows(text, x=dtype)["x"], dtype, [], shape)


@pytest.mark.parametrize(
    ("text", "shape"),
    [("[1, 2]", (2,)), ("[[1, 2], [3, 4], [5, 6]]", (3, 2)), ("[[[1, 2], [3, 4], [5, 6]]]", (1, 3, 2))],
)
def test_the_shape_follows_from_the_lists(text: str, shape: tuple[int, ...]) -> None:
    values = list(range(1, 1 + math.prod(shape)))
    assert_tensor(columns(text, x="int32")["x"], "int32", values, shape)
    assert_tensor(columns(f'{{"x": {text}}}', x="int32")["x"], "int32", values, shape)
    assert_tensor(rows(text, x="int32")["x"], "int32", values, shape)


def test_the_shape_is_not_compared_with_the_signature() -> None:
    spec = TensorSpec("x", "DT_FLOAT", (None, 1))
    assert decode_rows([1.0, 2.0, 5.0], {"x": spec})["x"].shape == (3,)
    assert decode_columns(1.0, {"x": spec})["x"].shape == ()


CUBE = [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]


def spoil_cube(level: int, change: Any) -> str:
    """CUBE as text, with what lies at index [1,1,...] of `level` replaced by `change` of it."""
    cube = json.loads(json.dumps(CUBE))
    parent = cube
    for _ in range(level - 1):
        parent = parent[1]
    parent[1] = change(parent[1])
    return json.dumps(cube)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize(("change", "size"), [(lambda it: it[:1], 1), (lambda it: it * 2, 4), (lambda it: [], 0)])
def test_a_list_of_another_size_is_refused_at_every_level(level: int, change: Any, size: int) -> None:
    upstream = f"Encountered list at unexpected size: {size} at level: {level} expected size: 2"
    hint = f' (input "x", index [{",".join("1" * level)}])'
    assert_refused(columns, spoil_cube(level, change), {"x": "int32"}, upstream, hint)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_value_in_place_of_a_list_is_refused_at_every_level(level: int) -> None:
    upstream = f"JSON Value: 9 found at incorrect level: {level + 1} in the JSON DOM. Expected at level: 4"
    hint = f' (input "x", index [{",".join("1" * level)}])'
    assert_refused(columns, spoil_cube(level, lambda it: 9), {"x": "int32"}, upstream, hint)


@pytest.mark.parametrize("change", [lambda it: [it], lambda it: [], lambda it: [[it], 1]])
def test_a_list_in_place_of_a_value_is_refused(change: Any) -> None:
    upstream = "Encountered list at unexpected level: 4 expected < 4"
    assert_refused(columns, spoil_cube(4, change), {"x": "int32"}, upstream, ' (input "x", index [1,1,1,1])')


def nested(levels: int, value: Any = 1) -> Any:
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("dtype", NUMPY)
def test_64_dimensions_are_read(dtype: str) -> None:
    core = {"bool": True, "string": "a"}.get(dtype, 1)
    only = specs(x=dtype)
    assert decode_columns(nested(64, core), only)["x"].ndim == 64
    assert decode_rows(nested(64, core), only)["x"].ndim == 64
    assert decode_rows([{"x": nested(63, core)}], only)["x"].ndim == 64


@pytest.mark.parametrize("dtype", ["float", "string"])
@pytest.mark.parametrize("levels", [65, 66, 100, 2000])
@pytest.mark.parametrize("core", [1, None, "a"])
def test_more_than_64_dimensions_are_refused(dtype: str, levels: int, core: Any) -> None:
    text = f"Lists are nested {levels} deep; a tensor has at most 64 dimensions"
    for decode, value in (
        (decode_columns, nested(levels, core)),
        (decode_columns, {"x": nested(levels, core)}),
        (decode_rows, nested(levels, core)),
        (decode_rows, [{"x": nested(levels - 1, core)}]),
    ):
        with pytest.raises(InvalidArgument) as caught:
            decode(value, specs(x=dtype))
        assert caught.value.message.endswith(text)


# Rows.


@pytest.mark.parametrize(
    ("instances", "dtype", "index", "upstream"),
    [
        ('["x", "y"]', "float", 0, 'JSON Value: "x" Type: String is not of expected type: float (input "x")'),
        ('[[1, 2], ["a", "b"]]', "int32", 1, 'JSON Value: "a" Type: String is not of expected type: int32 (input'),
        ("[[1, 2], [3, 4], [5, 6, 7]]", "int32", 2, "Expecting tensor size: 2 but got: 3"),
        ("[1, []]", "int32", 1, "Expecting tensor size: 1 but got: 0"),
        ("[[], 1]", "int32", 1, "Expecting tensor size: 0 but got: 1"),
        ("[1, [1, 2]]", "int32", 1, "Expecting tensor size: 1 but got: 2"),
        ("[[1, 2], [[3, 4]]]", "int32", 1, "Expecting shape [2] but got: [1,2]"),
        ("[1, [1]]", "int32", 1, "Expecting shape [] but got: [1]"),
        ("[[[]], []]", "int32", 1, "Expecting shape [1,0] but got: [0]"),
        ("[[[1, 2], [3]]]", "int32", 0, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("[[1, [2]]]", "int32", 0, "Encountered list at unexpected level: 1 expected < 1"),
        (
            "[[1], [[1], 2]]",
            "int32",
            1,
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ('["a", {"b64": "!"}]', "string", 1, "Unable to base64 decode"),
        ('[[{"b64": 1}]]', "string", 0, 'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
    ],
)
def test_the_row_that_does_not_fit_is_named(instances: str, dtype: str, index: int, upstream: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rows(instances, x=dtype)
    prefix = f"Failed to process element: {index} of 'instances' list. Error: INVALID_ARGUMENT: "
    assert caught.value.message.startswith(prefix + upstream)


IN_ERROR = "Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("instances", "where", "upstream"),
    [
        ('[{"a": 1, "b": "x"}, {"a": "1", "b": "x"}]', "1 key: a", IN_ERROR + 'JSON Value: "1" Type: String is not'),
        ('[{"a": 1, "b": "x", "z": 1}]', "0 key: z", IN_ERROR + "JSON object: does not have named input: z"),
        (
            '[{"a": 1, "b": "x"}, {"b": "x", "c": 1}]',
            "1 key: c",
            IN_ERROR + "JSON object: does not have named input: c",
        ),
        ('[{"a": [1], "b": "x"}, {"a": [[1]]}]', "1 key: a", IN_ERROR + "Expecting shape [1] but got: [1,1]"),
        ('[{"a": [1], "b": "x"}, {"a": [1, 2]}]', "1 key: a", IN_ERROR + "Expecting tensor size: 1 but got: 2"),
        ('[{"a": 1}]', "0", 'JSON object: {\n    "a": 1\n} keys must be equal to: a,b'),
        ('[{"a": 1, "b": "x"}, {}]', "1", "JSON object: {} keys must be equal to: a,b"),
        ("[{}]", "0", "JSON object: {} keys must be equal to: a,b"),
    ],
)
def test_the_row_and_the_key_that_do_not_fit_are_named(instances: str, where: str, upstream: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rows(instances, b="string", a="int32")
    assert caught.value.message.startswith(f"Failed to process element: {where} of 'instances' list. {upstream}")


@pytest.mark.parametrize("intruder", ["1", '"a"', "null", "[1, 20, 30]", '{"b64": "aGk="}'])
def test_the_first_row_decides_that_all_are_objects(intruder: str) -> None:
    upstream = "Expecting object but got list at item 1 of input list"
    assert_refused(rows, f'[{{"a": 1, "b": 2}}, {intruder}]', {"a": "int32", "b": "int32"}, upstream)
    assert_refused(rows, f'[{{"a": "x"}}, {intruder}]', {"a": "string"}, upstream)


@pytest.mark.parametrize(("first", "dtype"), [("1", "int32"), ('"a"', "string"), ('{"b64": "aGk="}', "string")])
@pytest.mark.parametrize("intruder", ['{"x": 1}', "{}", '{"b64": 1}', '{"b64": "aGk=", "c": 1}'])
def test_the_first_row_decides_that_none_is_an_object(first: str, dtype: str, intruder: str) -> None:
    upstream = "Expecting value/list but got object at item 1 of input list"
    assert_refused(rows, f"[{first}, {intruder}]", {"x": dtype}, upstream)


def test_the_first_mistake_in_the_document_is_the_one_that_is_told() -> None:
    with pytest.raises(InvalidArgument, match=r"element: 1 key: b of .* JSON Value: true "):
        rows('[{"a": 1, "b": 2}, {"b": true, "a": null}, 5]', a="int32", b="int32")


@pytest.mark.parametrize("value", ["1", '"a"', "[1, 2]", "[]", "null", '{"b64": "aGk="}'])
def test_several_inputs_need_an_object(value: str) -> None:
    several = {"a": "string", "b": "string"}
    assert_refused(
        rows,
        f"[{value}]",
        several,
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        "tensorinfo_map",
    )
    assert_refused(
        columns,
        value,
        several,
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
        "tensorinfo_map",
    )


def test_several_inputs_of_different_dtypes_and_shapes_are_stacked_by_name() -> None:
    tensors = rows(
        '[{"int": [[1, 2], [3, 4], [5, 6]], "str": ["foo", "bar"], "flt": [1.0, NaN], "dbl": [NaN]},'
        ' {"dbl": [2.0], "flt": [2.0, Infinity], "str": ["baz", "bat"], "int": [[7, 8], [9, 0], [1, 2]]}]',
        int="int32",
        str="string",
        flt="float",
        dbl="double",
    )
    assert_tensor(tensors["int"], "int32", [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2], (2, 3, 2))
    assert tensors["str"].tolist() == [[b"foo", b"bar"], [b"baz", b"bat"]]
    assert_tensor(tensors["flt"], "float", [1, math.nan, 2, math.inf], (2, 2))
    assert_tensor(tensors["dbl"], "double", [math.nan, 2], (2, 1))


def test_the_only_input_may_be_named_in_rows() -> None:
    assert rows('[{"x": [1]}, {"x": [2]}]', x="int32")["x"].tolist() == [[1], [2]]
    assert rows('[{"x": {"b64": "aGk="}}]', x="string")["x"].tolist() == [b"hi"]


@pytest.mark.parametrize("name", ["b64", "", "é", 'a"b'])
def test_an_input_may_have_any_name(name: str) -> None:
    only = {name: TensorSpec(name, "DT_FLOAT", None)}
    assert decode_rows([{name: 1}, {name: 2}], only)[name].tolist() == [1, 2]
    assert decode_columns({name: [1]}, only)[name].tolist() == [1]
    with pytest.raises(InvalidArgument, match=re.escape(f"element: 1 key: {name} of")):
        decode_rows([{name: 1}, {name: None}], only)


def test_rows_of_an_input_that_is_itself_named_b64_are_not_mixed_up_with_base64() -> None:
    upstream = "Expecting object but got list at item 1 of input list"
    assert_refused(rows, '[{"b64": {"b64": "aGk="}}, {"b64": "aGk="}]', {"b64": "string"}, upstream)


# Columns.


def test_columns_may_differ_in_every_dimension() -> None:
    tensors = columns(
        '{"int": [[[1, 2], [3, 4], [5, 6]]], "str": ["foo", "bar"], "bin": {"b64": "aGVsbG8="}, "none": []}',
        int="int32",
        str="string",
        bin="string",
        none="float",
    )
    assert {name: array.shape for name, array in tensors.items()} == {
        "int": (1, 3, 2),
        "str": (2,),
        "bin": (),
        "none": (0,),
    }
    assert tensors["bin"].item() == b"hello"


def test_columns_that_the_signature_does_not_have_are_ignored() -> None:
    assert list(columns('{"x": [1.0], "z": {"a": null}}', x="float")) == ["x"]


@pytest.mark.parametrize("inputs", ["{}", '{"z": [1.0]}', '{"b64": 1}', '{"b64": "aGk=", "z": 1}'])
def test_a_missing_column_is_named(inputs: str) -> None:
    assert_refused(columns, inputs, {"x": "float"}, "Missing named input: x in 'inputs' object.")


def test_the_column_that_does_not_fit_is_named() -> None:
    upstream = 'JSON Value: "a" Type: String is not of expected type: float'
    hint = ' (input "b", index [0,1])'
    assert_refused(columns, '{"a": 1, "b": [[1, "a"]]}', {"a": "float", "b": "float"}, upstream, hint)


# No inputs, and dtypes that cannot travel.


def test_a_signature_without_inputs_takes_an_empty_object() -> None:
    assert decode_columns({}, {}) == {}
    assert decode_rows([{}, {}], {}) == {}


@pytest.mark.parametrize("value", [5, "a", None, [], [1.0], {"b64": "aGk="}])
def test_a_signature_without_inputs_takes_no_value(value: Any) -> None:
    for decode, given_value in ((decode_columns, value), (decode_rows, [value])):
        with pytest.raises(InvalidArgument, match=r'The signature has no inputs; "inputs": \{\} calls it'):
            decode(given_value, {})


def test_a_signature_without_inputs_has_no_named_input() -> None:
    with pytest.raises(InvalidArgument, match="does not have named input: a"):
        decode_rows([{"a": 1}], {})


@pytest.mark.parametrize("dtype", ["complex64", "resource", "variant", "qint8"])
def test_a_dtype_that_cannot_travel_is_unimplemented_in_columns(dtype: str) -> None:
    with pytest.raises(Unimplemented) as caught:
        columns("[[1, 2]]", x=dtype)
    assert caught.value.message == f"Conversion of JSON Value: 1 to type: {dtype}"


@pytest.mark.parametrize(("row", "key"), [("1", ""), ("[1]", ""), ('{"x": [1]}', " key: x")])
def test_a_dtype_that_cannot_travel_is_an_invalid_argument_in_rows(row: str, key: str) -> None:
    assert_refused(
        rows,
        f"[{row}]",
        {"x": "complex64"},
        f"Failed to process element: 0{key} of 'instances' list. Error: UNIMPLEMENTED: "
        "Conversion of JSON Value: 1 to type: complex64",
    )


@pytest.mark.parametrize(("decode", "value"), [(columns, "[]"), (columns, '{"x": [[]]}'), (rows, "[[]]")])
def test_a_dtype_that_cannot_travel_is_refused_even_where_there_is_no_value(decode: Any, value: str) -> None:
    with pytest.raises(ServingError, match="to type: complex64"):
        decode(value, x="complex64")


# Size.


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([1] * 99_999 + ["1"], "element: 99999 of"),
        ([[1]] * 99_999 + [["1"]], "element: 99999 of"),
        ([[1] * 1000] * 99 + [[1] * 999 + ["1"]], "element: 99 of"),
        ([{"x": 1}] * 99_999 + [{"x": "1"}], "element: 99999 key: x of"),
    ],
    ids=["scalars", "lists", "long lists", "objects"],
)
def test_a_wrong_type_at_the_last_of_100000_elements_is_found(value: list[Any], place: str) -> None:
    with pytest.raises(InvalidArgument, match=f'{place} .*"1" Type: String'):
        decode_rows(value, specs(x="int32"))


def test_the_last_of_100000_elements_of_a_column_is_found() -> None:
    upstream = "JSON Value: 1.5 Type: Number is not of expected type: int32"
    with pytest.raises(InvalidArgument) as caught:
        decode_columns([1] * 99_999 + [1.5], specs(x="int32"))
    assert caught.value.message == upstream + ' (input "x", index [99999])'


LONG = "a" * 5_000_000
WIDE = "😀" * 100_000
CONTROL = "\0" * 100_000
MANY = {f"feature_{number}": TensorSpec(f"feature_{number}", "DT_FLOAT", None) for number in range(5000)}


@pytest.mark.parametrize("text", [LONG, WIDE, CONTROL], ids=["long", "wide", "control"])
@pytest.mark.parametrize(
    ("decode", "build"),
    [
        (decode_columns, lambda text: text),
        (decode_columns, lambda text: [[1, text]]),
        (decode_columns, lambda text: [[1], text]),
        (decode_columns, lambda text: [{text: text}]),
        (decode_rows, lambda text: [text]),
        (decode_rows, lambda text: [{text: 1}]),
        (decode_rows, lambda text: [{"x": text}]),
        (decode_rows, lambda text: [{"x": 1}, {"x": 1, text: text}]),
        (decode_rows, lambda text: [{"x": 1}, {"x": {text: [text]}}]),
    ],
)
def test_an_error_shows_the_beginning_of_a_long_text_only(decode: Any, build: Any, text: str) -> None:
    assert_short(decode, build(text), specs(x="float"))


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (decode_columns, [1.0, {"a": [1] * 100_000}]),
        (decode_columns, [[1] * 100_000, {"a": [[1] * 1000] * 100}]),
        (decode_columns, [{str(number): number for number in range(100_000)}]),
        (decode_columns, nested(63, [1, {"a": nested(1000)}])),
        (decode_columns, nested(62, [1, [2]])),
        (decode_rows, [{str(number): number for number in range(100_000)}]),
        (decode_rows, [nested(62, [1] * 1000), nested(61, [[1]] * 1000)]),
        (decode_rows, [{}]),
        (decode_rows, [{"feature_0": 1.0}]),
        (decode_columns, {}),
    ],
)
def test_an_error_shows_the_beginning_of_a_large_value_only(decode: Any, value: Any) -> None:
    assert_short(decode, value, specs(x="float"))
    assert_short(decode, value, specs(x="complex64"))
    assert_short(decode, value, MANY)


def assert_short(decode: Any, value: Any, inputs: Mapping[str, TensorSpec]) -> None:
    with pytest.raises(ServingError) as caught:
        decode(value, inputs)
    assert len(caught.value.message.encode()) < MESSAGE_LIMIT


def test_a_missing_key_of_many_still_shows_the_beginning_of_the_names() -> None:
    with pytest.raises(InvalidArgument, match="keys must be equal to: feature_0,feature_1,feature_10,"):
        decode_rows([{}], MANY)


# Against a reference that is slow and obvious.


EDGES = [edge for low, high in RANGES.values() for edge in (low - 1, low, high, high + 1)]
DECIMAL_EDGES = [-0.0, 65519.99, 65520.0, 5e-8, 3.3961775e38, 3.4028235e38, 3.4028236e38, 1e-45, 0.1, 1.00390625, 257]
BASE64 = ["", "aGk=", "aGk", "aA==", "aA", "a", "aGk==", "a G\nk=", "aGk=aGk=", "-_8=", "+/8=", "=", "aGVsbG8", "aA="]

booleans = st.booleans()
numbers = (
    st.integers(-(2**65), 2**65)
    | st.integers(-300, 300)
    | st.floats()
    | st.floats(width=16)
    | st.sampled_from(EDGES + DECIMAL_EDGES)
)
strings = st.text(max_size=3) | st.sampled_from(BASE64).map(lambda text: {"b64": text})
scalars = st.none() | booleans | numbers | strings
names = st.sampled_from(["a", "b", "c"])
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)


def elements(dtype: str) -> st.SearchStrategy[Any]:
    """Mostly what the dtype accepts."""
    if dtype in DECIMALS:
        return numbers
    if dtype in INTEGERS:
        return st.integers(*RANGES[dtype])
    return booleans if dtype == "bool" else strings


def tensors_of(dtype: str, shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    if not shape:
        return elements(dtype)
    return st.lists(tensors_of(dtype, shape[1:]), min_size=shape[0], max_size=shape[0])


shapes = st.lists(st.sampled_from([1, 2, 3, 0]), max_size=3).map(tuple)
signatures = st.dictionaries(names, st.sampled_from(list(NUMPY)), max_size=2) | st.fixed_dictionaries(
    {"a": st.sampled_from(list(NUMPY))}
)


def spoil(draw: st.DrawFn, value: Any) -> Any:
    """The value with something in it replaced, repeated or left out."""
    if not isinstance(value, list | dict) or not value or draw(st.integers(0, 3)) == 0:
        return draw(st.one_of(anything, st.just([value]), st.just({"a": value})))
    key = draw(st.sampled_from(range(len(value)) if isinstance(value, list) else list(value)))
    change = draw(st.sampled_from(["inside", "inside", "inside", "drop", "repeat"]))
    if change == "drop":
        del value[key]
    elif change == "repeat" and isinstance(value, list):
        value.insert(key, value[key])
    else:
        value[key] = spoil(draw, value[key])
    return value


@st.composite
def requests(draw: st.DrawFn, row_format: bool) -> tuple[Any, dict[str, str]]:
    """A request's tensors, in half of the cases not as they should be, and the dtypes of the signature."""
    dtypes = draw(signatures)
    shape = {name: draw(shapes) for name in dtypes}
    plain = len(dtypes) == 1 and draw(booleans)

    def one() -> Any:
        values = {name: draw(tensors_of(dtype, shape[name])) for name, dtype in dtypes.items()}
        return next(iter(values.values())) if plain else values

    document = [one() for _ in range(draw(st.integers(1, 3)))] if row_format else one()
    if draw(booleans):
        document = spoil(draw, document)
    text = json.dumps(document if not row_format or (isinstance(document, list) and document) else [document])
    return parse(text.encode()), dtypes


properties = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@properties
@given(requests(row_format=True))
def test_rows_are_what_the_reference_makes_of_them(request: tuple[Any, dict[str, str]]) -> None:
    instances, dtypes = request
    assert outcome(decode_rows, instances, specs(**dtypes)) == outcome(reference_rows, instances, dtypes)


@properties
@given(requests(row_format=False))
def test_columns_are_what_the_reference_makes_of_them(request: tuple[Any, dict[str, str]]) -> None:
    inputs, dtypes = request
    assert outcome(decode_columns, inputs, specs(**dtypes)) == outcome(reference_columns, inputs, dtypes)


def message(function: Any, *arguments: Any) -> str:
    try:
        function(*arguments)
    except InvalidArgument as error:
        return error.message
    return ""


@settings(properties, max_examples=100)
@given(requests(row_format=True))
def test_a_refusal_of_rows_is_short_and_in_upstreams_words(request: tuple[Any, dict[str, str]]) -> None:
    instances, dtypes = request
    text = message(decode_rows, instances, specs(**dtypes))
    assert len(text.encode()) < MESSAGE_LIMIT
    assert re.match(
        r"$|Failed to process element: \d+ (key: .+ )?of 'instances' list\. "
        r"|Expecting (object|value/list) but got (list|object) at item \d+ of input list"
        r"|instances is a plain list, but expecting list of objects"
        r"|The signature has no inputs",
        text,
    )


@properties
@given(st.sampled_from(list(NUMPY)), anything)
def test_any_value_is_read_as_one_tensor_or_refused_by_the_reference_too(dtype: str, value: Any) -> None:
    value = parse(json.dumps(value).encode())
    spec = specs(x=dtype)["x"]
    read = outcome(lambda: {"x": decode_tensor(value, spec)})
    assert read == outcome(lambda: {"x": reference_tensor(value, dtype)})
