"""Tensors in, bytes of JSON out; read back they are the same values."""

import base64
import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from serving.errors import FailedPrecondition, InvalidArgument
from serving.tensors.encode import NonFinite, encode_classes, encode_columns, encode_regressions, encode_rows
from serving.tensors.spec import Array

DECIMALS: list[Any] = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
INTEGERS: list[Any] = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
DTYPES = [*DECIMALS, *INTEGERS, np.bool_, np.object_]

properties = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def strings(values: Any) -> Array:
    """An object array of bytes from nested lists of them."""
    return np.array(values, dtype=object)


def predictions(outputs: Mapping[str, Array], non_finite: NonFinite = "literal") -> Any:
    return read(encode_rows(outputs, non_finite))["predictions"]


def outputs(tensors: Mapping[str, Array], non_finite: NonFinite = "literal") -> Any:
    return read(encode_columns(tensors, non_finite))["outputs"]


def read(document: bytes) -> Any:
    """What Python's parser makes of a document; bytes that are not UTF-8 become surrogates."""
    return json.loads(document.decode(errors="surrogateescape"))


# Any tensor, read back.


def any_tensor(dtype: Any, shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Tensors of any bits: every NaN, infinity, subnormal and signed zero too."""
    size = math.prod(shape)
    if dtype is np.object_:
        texts = st.lists(st.binary(max_size=4), min_size=size, max_size=size)
        return texts.map(lambda items: as_objects(items).reshape(shape))
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    patterns = st.integers(0, 1 if dtype is np.bool_ else np.iinfo(unsigned).max)
    if dtype in DECIMALS:
        patterns |= st.sampled_from(np.array([np.nan, np.inf, -np.inf, -0.0, 0.1], dtype).view(unsigned).tolist())
    bits = st.lists(patterns, min_size=size, max_size=size)
    return bits.map(lambda items: np.array(items, unsigned).view(dtype).reshape(shape))


def as_objects(items: list[Any]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def is_same(value: Any, array: Array, as_bytes: bool = False) -> bool:
    """Whether a JSON value holds the tensor: its lists, its dtype's values to the bit, NaN for any NaN."""
    if array.ndim:
        return (
            type(value) is list
            and len(value) == len(array)
            and all(is_same(inner, array[index, ...], as_bytes) for index, inner in enumerate(value))
        )
    element = array[()]
    if array.dtype == object:
        if as_bytes:
            return list(value) == ["b64"] and base64.b64decode(value["b64"], validate=True) == element
        return type(value) is str and value.encode(errors="surrogateescape") == element
    if array.dtype.type in DECIMALS:
        read_back = np.float64(value).astype(array.dtype)
        same_bits = read_back.tobytes() == array.tobytes()
        return type(value) is float and (same_bits or (math.isnan(value) and bool(np.isnan(element))))
    return type(value) is (bool if array.dtype == np.bool_ else int) and value == int(element)


shapes = st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=2)
row_shapes = st_numpy.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2)
kinds = st.sampled_from(DTYPES)


@properties
@given(data=st.data(), dtypes=st.lists(kinds, min_size=1, max_size=3))
def test_columns_read_back_are_the_same_tensors(data: st.DataObject, dtypes: list[Any]) -> None:
    tensors = {
        name: data.draw(any_tensor(dtype, data.draw(shapes))) for name, dtype in zip("abc", dtypes, strict=False)
    }
    written = outputs(tensors)
    if len(tensors) == 1:
        written = {"a": written}
    assert list(written) == list(tensors)
    assert all(is_same(written[name], tensor) for name, tensor in tensors.items())


@properties
@given(data=st.data(), dtypes=st.lists(kinds, min_size=1, max_size=3), count=st.integers(0, 3))
def test_rows_read_back_are_the_same_tensors(data: st.DataObject, dtypes: list[Any], count: int) -> None:
    tensors = {
        name: data.draw(any_tensor(dtype, (count, *data.draw(row_shapes))))
        for name, dtype in zip("abc", dtypes, strict=False)
    }
    written = predictions(tensors)
    if len(tensors) == 1:
        written = [{"a": row} for row in written]
    assert len(written) == count
    for index, row in enumerate(written):
        assert list(row) == list(tensors)
        assert all(is_same(row[name], tensor[index, ...]) for name, tensor in tensors.items())


@pytest.mark.parametrize("dtype", DTYPES)
@settings(properties, max_examples=10)
@given(data=st.data())
def test_a_vector_of_every_dtype_reads_back_the_same(dtype: Any, data: st.DataObject) -> None:
    tensor = data.draw(any_tensor(dtype, (8,)))
    assert is_same(outputs({"y": tensor}), tensor)
    assert is_same(predictions({"y": tensor}), tensor)


@properties
@given(data=st.data())
def test_strings_of_an_output_for_bytes_read_back_are_the_same(data: st.DataObject) -> None:
    tensor = data.draw(any_tensor(np.object_, (data.draw(st.integers(0, 3)), *data.draw(row_shapes))))
    assert is_same(predictions({"image_bytes": tensor}), tensor, as_bytes=True)
    assert is_same(outputs({"image_bytes": tensor}), tensor, as_bytes=True)
    both = predictions({"image_bytes": tensor, "text": tensor})
    assert all(
        is_same(row["image_bytes"], tensor[index, ...], as_bytes=True) and is_same(row["text"], tensor[index, ...])
        for index, row in enumerate(both)
    )


# Form.


@pytest.mark.parametrize("encode", [encode_rows, encode_columns])
def test_no_outputs_are_an_error(encode: Callable[[Mapping[str, Array], NonFinite], bytes]) -> None:
    with pytest.raises(InvalidArgument, match=r"^Cannot convert empty tensor map to JSON$"):
        encode({}, "literal")


def test_the_name_of_the_only_output_is_dropped() -> None:
    tensor = np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]], np.int32)
    assert encode_rows({"y": tensor}, "literal") == b'{"predictions":[[[1,2],[3,4],[5,6]],[[7,8],[9,0],[1,2]]]}'
    assert encode_columns({"y": tensor}, "literal") == b'{"outputs":[[[1,2],[3,4],[5,6]],[[7,8],[9,0],[1,2]]]}'


def test_several_outputs_are_objects_by_row_or_one_object_of_tensors() -> None:
    tensors = {
        "double_scalar": np.array([8.0, 9.0]),
        "float": np.array([[1.0], [2.0]], np.float32),
        "int": np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]], np.int32),
        "str": strings([[b"foo", b"bar"], [b"baz", b"bat"]]),
        "str_bytes": strings([[b"hello", b"world"], [b"tf", b"serving"]]),
        "flag": np.array([True, False]),
    }
    hello, world, tf, serving = ({"b64": text} for text in ("aGVsbG8=", "d29ybGQ=", "dGY=", "c2VydmluZw=="))
    assert predictions(tensors) == [
        {
            "double_scalar": 8.0,
            "float": [1.0],
            "int": [[1, 2], [3, 4], [5, 6]],
            "str": ["foo", "bar"],
            "str_bytes": [hello, world],
            "flag": True,
        },
        {
            "double_scalar": 9.0,
            "float": [2.0],
            "int": [[7, 8], [9, 0], [1, 2]],
            "str": ["baz", "bat"],
            "str_bytes": [tf, serving],
            "flag": False,
        },
    ]
    assert outputs(tensors) == {
        "double_scalar": [8.0, 9.0],
        "float": [[1.0], [2.0]],
        "int": [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]],
        "str": [["foo", "bar"], ["baz", "bat"]],
        "str_bytes": [[hello, world], [tf, serving]],
        "flag": [True, False],
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", [(), (2,), (1, 2), (0,)])
def test_no_rows_are_an_empty_list(dtype: Any, row: tuple[int, ...]) -> None:
    tensor = np.zeros((0, *row), dtype)
    assert encode_rows({"y": tensor}, "literal") == b'{"predictions":[]}'
    assert encode_rows({"y": tensor, "z_bytes": tensor, "w": np.zeros(0)}, "literal") == b'{"predictions":[]}'
    assert encode_columns({"y": tensor, "z": tensor}, "literal") == b'{"outputs":{"y":[],"z":[]}}'


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_nothing_are_empty_lists(dtype: Any) -> None:
    tensor = np.zeros((2, 0), dtype)
    assert predictions({"y": tensor}) == [[], []]
    assert predictions({"y": tensor, "z": np.zeros((2, 1, 0), dtype)}) == [{"y": [], "z": [[]]}] * 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [32, 33, 64])
def test_a_tensor_may_have_64_dimensions(dtype: Any, rank: int) -> None:
    tensor = np.full((1,) * rank, b"1" if dtype is np.object_ else 1, dtype)
    assert is_same(predictions({"y": tensor}), tensor)
    assert is_same(outputs({"y_bytes": tensor}), tensor, as_bytes=True)
    assert is_same(predictions({"y": tensor, "z": tensor})[0]["z"], tensor[0, ...])


@pytest.mark.parametrize(
    "tensor",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.int64)[::-2],
        np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
        np.where(np.eye(3, 4) > 0, np.nan, np.arange(12.0).reshape(3, 4)).T,
        strings([[b"a", b"b", b"c"], [b"d", b"e", b"f"]]).T,
    ],
)
def test_the_order_in_memory_does_not_matter(tensor: Array) -> None:
    assert is_same(predictions({"y": tensor}), tensor)
    assert is_same(outputs({"y": tensor}), tensor)
    assert all(
        is_same(row["y"], tensor[index, ...]) for index, row in enumerate(predictions({"y": tensor, "z": tensor}))
    )


def test_rows_need_a_dimension() -> None:
    scalar, vector = np.array(1.0), np.array([1.0])
    for tensors in ({"y": scalar}, {"y": scalar, "z": vector}, {"x": vector, "y": scalar}):
        with pytest.raises(InvalidArgument) as caught:
            encode_rows(tensors, "literal")
        assert caught.value.message == "Tensor name: y has no shape information "


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2), (0, 1), (1, 0)])
def test_rows_need_the_same_number_in_every_output(first: int, second: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        encode_rows({"a": np.zeros((first, 3)), "b": np.zeros(second)}, "literal")
    assert caught.value.message == f"Tensor name: b has inconsistent batch size: {second} expecting: {first}"


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.complex64, "complex64"),
        (np.complex128, "complex128"),
        (ml_dtypes.float8_e5m2, "float8_e5m2"),
        (ml_dtypes.float8_e4m3fn, "float8_e4m3fn"),
        (ml_dtypes.int4, "int4"),
    ],
)
def test_a_dtype_that_cannot_travel_is_named(dtype: Any, name: str) -> None:
    tensors = {"y": np.ones(2), "z": np.ones(2, dtype)}
    for encode in (encode_rows, encode_columns):
        with pytest.raises(InvalidArgument) as caught:
            encode(tensors, "literal")
        assert caught.value.message == f"Failed to write JSON value for tensor type: {name}"


# Numbers.


def test_a_decimal_is_the_shortest_text_that_reads_back_the_same() -> None:
    values = [9000000, 999999, 0.5, 0.0003, 0.00003, 555557.5, 0.2, 1 / 3, 16777216]
    assert encode_columns({"y": np.array([0.2, 0.1, 1.5], np.float32)}, "literal") == b'{"outputs":[0.2,0.1,1.5]}'
    assert is_same(outputs({"y": np.array(values, np.float32)}), np.array(values, np.float32))


def test_whole_decimals_stay_decimals_and_keep_the_sign_of_zero() -> None:
    for dtype in DECIMALS:
        tensor = np.array([1, -0.0, 0.0], dtype)
        assert encode_columns({"y": tensor}, "literal") == b'{"outputs":[1.0,-0.0,0.0]}'
        assert encode_rows({"y": tensor, "z": tensor}, "literal") == (
            b'{"predictions":[{"y":1.0,"z":1.0},{"y":-0.0,"z":-0.0},{"y":0.0,"z":0.0}]}'
        )


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact_to_their_limits(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    tensor = np.array([limits.min, limits.max], dtype)
    assert outputs({"y": tensor}) == [limits.min, limits.max]
    assert predictions({"y": tensor, "z": tensor}) == [
        {"y": limits.min, "z": limits.min},
        {"y": limits.max, "z": limits.max},
    ]
    assert outputs({"y": np.array(limits.max, dtype)}) == limits.max


@pytest.mark.parametrize("dtype", DECIMALS)
def test_a_decimal_scalar_is_a_bare_number(dtype: Any) -> None:
    assert encode_columns({"y": np.array(1.5, dtype)}, "literal") == b'{"outputs":1.5}'
    assert encode_columns({"y": np.array(-np.inf, dtype)}, "literal") == b'{"outputs":-Infinity}'
    assert encode_columns({"y": np.array(np.nan, dtype)}, "null") == b'{"outputs":null}'
    assert encode_rows({"y": np.array([1.5], dtype), "z": np.array([2.5], dtype)}, "literal") == (
        b'{"predictions":[{"y":1.5,"z":2.5}]}'
    )


NOT_FINITE = [[[math.nan, 1.0], [math.inf, 0.5]], [[-math.inf, -0.0], [2.0, math.nan]]]


def test_many_values_that_are_not_finite_are_each_written_as_themselves() -> None:
    values = np.arange(100_000, dtype=np.float32)
    values[::3], values[1::3] = np.nan, -np.inf
    text = encode_columns({"y": values}, "literal").decode().removeprefix('{"outputs":[').removesuffix("]}").split(",")
    assert text == ["NaN" if at % 3 == 0 else "-Infinity" if at % 3 == 1 else f"{at}.0" for at in range(100_000)]


TOKENS = b"[[[NaN,1.0],[Infinity,0.5]],[[-Infinity,-0.0],[2.0,NaN]]]"
NULLS = b"[[[null,1.0],[null,0.5]],[[null,-0.0],[2.0,null]]]"


@pytest.mark.parametrize("dtype", DECIMALS)
@pytest.mark.parametrize(("non_finite", "text"), [("literal", TOKENS), ("null", NULLS)])
def test_numbers_that_are_not_finite_are_tokens_or_null(dtype: Any, non_finite: NonFinite, text: bytes) -> None:
    tensor, plain = np.array(NOT_FINITE, dtype), np.array([1, 2])
    assert encode_rows({"y": tensor}, non_finite) == b'{"predictions":' + text + b"}"
    assert encode_columns({"y": tensor}, non_finite) == b'{"outputs":' + text + b"}"
    assert encode_columns({"y": tensor, "z": plain}, non_finite) == b'{"outputs":{"y":' + text + b',"z":[1,2]}}'
    first, second = text[1:-1].replace(b"],[[", b"] [[").split(b" ")
    assert encode_rows({"y": tensor, "z": plain}, non_finite) == (
        b'{"predictions":[{"y":' + first + b',"z":1},{"y":' + second + b',"z":2}]}'
    )


@pytest.mark.parametrize("dtype", DECIMALS)
def test_numbers_that_are_not_finite_may_be_an_error_that_names_the_output(dtype: Any) -> None:
    tensors = {"fine": np.ones(2, dtype), "loss": np.array([1, np.inf], dtype)}
    for encode in (encode_rows, encode_columns):
        with pytest.raises(FailedPrecondition, match='Output "loss" has a value that is not finite'):
            encode(tensors, "error")
        assert encode({"fine": tensors["fine"]}, "error") == encode({"fine": tensors["fine"]}, "literal")


# Strings.


STRINGS = [b"", b"plain", b'"quoted"', b"back\\slash", b"\0\x01\x1f\n\r\t\x7f", "é😀".encode(), b"</script>"]
NOT_UTF8 = [b"\xff", b"a\xc3", b'\x80"\\\n\xfe', b"\xed\xa0\x80"]


@pytest.mark.parametrize("value", STRINGS)
def test_a_string_is_written_as_json(value: bytes) -> None:
    assert json.loads(encode_columns({"y": strings(value)}, "literal")) == {"outputs": value.decode()}
    assert json.loads(encode_rows({"y": strings([value])}, "literal")) == {"predictions": [value.decode()]}


@pytest.mark.parametrize("value", NOT_UTF8)
@pytest.mark.parametrize("others", [[], STRINGS])
def test_a_string_that_is_not_utf8_is_written_raw(value: bytes, others: list[bytes]) -> None:
    tensor = strings([value, *others])
    assert is_same(outputs({"y": tensor}), tensor)
    assert is_same(outputs({"y": strings(value)}), strings(value))
    assert [
        row["y"].encode(errors="surrogateescape") for row in predictions({"y": tensor, "z": tensor})
    ] == tensor.tolist()


@pytest.mark.parametrize("value", [*STRINGS, *NOT_UTF8])
@pytest.mark.parametrize("name", ["image_bytes", "_bytes"])
def test_an_output_whose_name_ends_in_bytes_is_base64(value: bytes, name: str) -> None:
    coded = {"b64": base64.b64encode(value).decode()}
    assert outputs({name: strings(value)}) == coded
    assert outputs({name: strings([[value]])}) == [[coded]]
    assert predictions({name: strings([value]), "z": np.array([1])}) == [{name: coded, "z": 1}]


@pytest.mark.parametrize("name", ["bytes", "bytes_out", "BYTES", "image_Bytes"])
def test_an_output_of_another_name_is_raw(name: str) -> None:
    assert predictions({name: strings([b"hi"])}) == ["hi"]


def test_numbers_of_an_output_for_bytes_stay_numbers() -> None:
    assert predictions({"n_bytes": np.array([1, 2])}) == [1, 2]


@pytest.mark.parametrize("name", ["", 'a"b', "é", "a/b:0"])
def test_an_output_may_have_any_name(name: str) -> None:
    assert predictions({name: np.array([1]), "z": np.array([2])}) == [{name: 1, "z": 2}]


# Classes and regressions.


def test_classes_are_pairs_of_label_and_score() -> None:
    classes, scores = strings([[b"cat", b"dog"], [b"owl", b"cow"]]), np.array([[0.1, 0.9], [1.0, 0.0]], np.float32)
    assert encode_classes(classes, scores, "literal") == (
        b'{"results":[[["cat",0.1],["dog",0.9]],[["owl",1.0],["cow",0.0]]]}'
    )


def test_a_missing_label_is_empty_and_a_missing_score_zero() -> None:
    assert encode_classes(None, np.array([[0.5, 3], [1, 2]], np.float32), "literal") == (
        b'{"results":[[["",0.5],["",3.0]],[["",1.0],["",2.0]]]}'
    )
    assert encode_classes(strings([[b"a"], [b'"\xff']]), None, "literal") == (
        b'{"results":[[["a",0.0]],[["\\"\xff",0.0]]]}'
    )


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0)])
def test_no_classes_are_empty_lists(shape: tuple[int, int]) -> None:
    results = {"results": [[] for _ in range(shape[0])]}
    labels, scores = np.full(shape, b"a", object), np.zeros(shape, np.float32)
    for one, other in itertools.product((labels, None), (scores, None)):
        if one is not None or other is not None:
            assert read(encode_classes(one, other, "literal")) == results


@pytest.mark.parametrize(("non_finite", "tokens"), [("literal", (b"NaN", b"-Infinity")), ("null", (b"null", b"null"))])
def test_scores_and_regressions_that_are_not_finite_are_tokens_or_null(non_finite: NonFinite, tokens: Any) -> None:
    values = np.array([np.nan, 0.25, -np.inf], np.float32)
    first, second = tokens
    assert encode_regressions(values, non_finite) == b'{"results":[' + first + b",0.25," + second + b"]}"
    assert encode_classes(None, values.reshape(1, 3), non_finite) == (
        b'{"results":[[["",' + first + b'],["",0.25],["",' + second + b"]]]}"
    )


def test_scores_and_regressions_that_are_not_finite_may_be_an_error() -> None:
    values = np.array([[1.0], [np.nan]], np.float32)
    with pytest.raises(FailedPrecondition, match='Output "scores" has a value that is not finite'):
        encode_classes(None, values, "error")
    with pytest.raises(FailedPrecondition, match='Output "outputs" has a value that is not finite'):
        encode_regressions(values.reshape(2), "error")


def test_regressions_are_a_list_of_numbers() -> None:
    assert encode_regressions(np.array([0.1, 2, 1e-7], np.float32), "literal") == b'{"results":[0.1,2.0,1e-7]}'
    assert encode_regressions(np.zeros(0, np.float32), "literal") == b'{"results":[]}'
