"""From features to what the graph parses: serialized examples, and which integers are written as floats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from serving.errors import InvalidArgument
from serving.models.examples import serialize_examples
from serving.models.features import float_features, parsed_features
from serving.models.runtime import Device, session_config, tf
from serving.models.servable import Servable
from serving.tensors.examples import Feature
from serving.tensors.spec import TensorSpec
from tests import saved_models

FLOATS = frozenset({"x", "y", "weights"})
"""What the models of `saved_models` parse as floats."""


def parsed(data: bytes) -> dict[str, tuple[str, list[Any]]]:
    """Kind and values of each feature of a serialized example."""
    features = tf.train.Example.FromString(data).features.feature
    return {
        name: (kind, list(getattr(feature, kind).value) if kind else [])
        for name, feature in features.items()
        for kind in [feature.WhichOneof("kind")]
    }


class TestSerializing:
    def test_each_example_is_one_element_of_a_string_tensor(self) -> None:
        serialized = serialize_examples([{"a": Feature("int64", [1])}, {}], frozenset())
        assert (serialized.dtype, serialized.shape) == (np.dtype(object), (2,))
        assert [parsed(data) for data in serialized] == [{"a": ("int64_list", [1])}, {}]

    @pytest.mark.parametrize("count", [0, 1])
    def test_few_examples_are_a_vector_as_well(self, count: int) -> None:
        assert serialize_examples([{}] * count, frozenset()).shape == (count,)

    @pytest.mark.parametrize(
        ("feature", "written"),
        [
            (Feature("bytes", [b"two\0\0", b""]), ("bytes_list", [b"two\0\0", b""])),
            (Feature("float", [1.5, -2.0]), ("float_list", [1.5, -2.0])),
            (Feature("int64", [2**63 - 1, -(2**63)]), ("int64_list", [2**63 - 1, -(2**63)])),
            (Feature("int64", [True, False]), ("int64_list", [1, 0])),
            (Feature(None, []), (None, [])),
        ],
    )
    def test_every_kind_of_feature_is_written(self, feature: Feature, written: tuple[str, list[Any]]) -> None:
        (data,) = serialize_examples([{"f": feature}], frozenset())
        assert parsed(data) == {"f": written}

    def test_integers_are_written_as_floats_where_the_graph_parses_floats(self) -> None:
        example = {name: Feature("int64", [1, 2]) for name in ("f", "i")} | {"b": Feature("bytes", [b"1"])}
        (data,) = serialize_examples([example], frozenset({"f", "b"}))
        assert parsed(data) == {"f": ("float_list", [1, 2]), "i": ("int64_list", [1, 2]), "b": ("bytes_list", [b"1"])}

    def test_an_integer_too_small_for_its_feature_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^Feature: f: Value out of range: -9223372036854775809$"):
            serialize_examples([{"f": Feature("int64", [-(2**63) - 1])}], frozenset())


def test_a_model_that_parses_floats_takes_integers(tmp_path: Path) -> None:
    saved_models.examples_of_tf2(tmp_path)
    servable = Servable(tmp_path, session_config(Device(None, "CPU"), 2), 30.0)
    floats = servable.signatures["serving_default"].float_features
    examples = [{"x": Feature("int64", [3]), "count": Feature("int64", [1])}]
    outputs = servable.run("serving_default", {"inputs": serialize_examples(examples, floats)})
    assert outputs["outputs"].tolist() == [[3.5]]


class TestFloatFeaturesOfExports:
    @pytest.mark.parametrize("old_parser", [False, True])
    def test_a_parser_in_the_graph_is_found_for_every_signature(self, old_parser: bool, tmp_path: Path) -> None:
        saved_models.examples(tmp_path, old_parser)
        meta_graph = read(tmp_path)
        assert floats_of(meta_graph) == dict.fromkeys(meta_graph.signature_def, FLOATS)

    @pytest.mark.parametrize("depth", [1, 3])
    def test_a_parser_inside_functions_is_found(self, depth: int, tmp_path: Path) -> None:
        saved_models.examples_of_tf2(tmp_path, depth)
        assert floats_of(read(tmp_path)) == {"serving_default": FLOATS}

    def test_models_that_take_no_examples_have_none(self, tmp_path: Path) -> None:
        saved_models.several_inputs(tmp_path)
        assert floats_of(read(tmp_path)) == {}


class TestFeaturesOfExports:
    @pytest.mark.parametrize("old_parser", [False, True])
    def test_each_feature_has_its_dtype_and_its_shape_if_it_has_one(self, old_parser: bool, tmp_path: Path) -> None:
        saved_models.examples(tmp_path, old_parser)
        assert parsed_features(read(tmp_path))["serving_default"] == {
            "count": TensorSpec("count", "DT_INT64", (1,)),
            "tags": TensorSpec("tags", "DT_STRING", None),
            "weights": TensorSpec("weights", "DT_FLOAT", None),
            "x": TensorSpec("x", "DT_FLOAT", (1,)),
            "y": TensorSpec("y", "DT_FLOAT", (1,)),
        }

    def test_ragged_features_have_no_shape(self) -> None:
        spec = {"r": tf.io.RaggedFeature(tf.float32), "d": tf.io.FixedLenFeature([2, 3], tf.float32)}
        (features,) = parsed_features(graph_of(lambda x: tf.io.parse_example(x, spec))).values()
        assert {name: its.shape for name, its in features.items()} == {"d": (2, 3), "r": None}


def floats_of(meta_graph: MetaGraphDef) -> dict[str, frozenset[str]]:
    """The features parsed as floats, by signature; signatures without any are left out."""
    found = {name: float_features(features) for name, features in parsed_features(meta_graph).items()}
    return {name: floats for name, floats in found.items() if floats}


def read(path: Path) -> MetaGraphDef:
    (meta_graph,) = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    return meta_graph


def graph_of(build: Callable[[Any], Any], dtype: str = "string", name: str = "inputs") -> MetaGraphDef:
    """The graph that `build` makes of a placeholder, with a signature whose only input that is."""
    with tf.Graph().as_default() as graph:
        placeholder = tf.compat.v1.placeholder(dtype, [None], "examples")
        build(placeholder)
    meta_graph = MetaGraphDef(graph_def=graph.as_graph_def())
    info = meta_graph.signature_def["s"].inputs[name]
    info.name, info.dtype = placeholder.name, placeholder.dtype.as_datatype_enum
    return meta_graph


def parse(serialized: Any, **dtypes: Any) -> Any:
    return tf.io.parse_example(serialized, {name: tf.io.FixedLenFeature([], dtype) for name, dtype in dtypes.items()})


def parse_dense(serialized: Any, keys: Any) -> Any:
    """Parse two dense float features whose keys are given as a tensor."""
    return tf.raw_ops.ParseExampleV2(
        serialized=serialized,
        names=tf.constant([], tf.string),
        sparse_keys=tf.constant([], tf.string),
        dense_keys=keys,
        ragged_keys=tf.constant([], tf.string),
        dense_defaults=[tf.constant([], tf.float32)] * 2,
        num_sparse=0,
        sparse_types=[],
        ragged_value_types=[],
        ragged_split_types=[],
        dense_shapes=[[], []],
    )


class TestFloatFeaturesOfGraphs:
    def test_ragged_and_sparse_features_count_too(self) -> None:
        spec = {
            "r": tf.io.RaggedFeature(tf.float32),
            "s": tf.io.VarLenFeature(tf.float32),
            "d": tf.io.FixedLenFeature([], tf.float32),
            "i": tf.io.RaggedFeature(tf.int64),
            "t": tf.io.VarLenFeature(tf.string),
        }
        assert floats_of(graph_of(lambda x: tf.io.parse_example(x, spec))) == {"s": {"r", "s", "d"}}

    def test_the_input_is_followed_through_ops_that_hand_it_on(self) -> None:
        def build(x: Any) -> None:
            parse(tf.reshape(tf.squeeze(tf.expand_dims(tf.identity(x), 1), 1), [-1]), f=tf.float32)

        assert floats_of(graph_of(build)) == {"s": {"f"}}

    def test_keys_may_be_arguments_of_the_function_that_parses(self) -> None:
        def build(x: Any) -> None:
            keys = tf.identity(tf.constant(["a", "b"]))
            tf.function(lambda serialized: parse_dense(serialized, tf.identity(keys)))(x)

        assert floats_of(graph_of(build)) == {"s": {"a", "b"}}

    def test_keys_that_are_not_constant_give_none(self) -> None:
        def build(x: Any) -> None:
            parse_dense(x, tf.compat.v1.placeholder(tf.string, [2]))

        assert floats_of(graph_of(build)) == {}

    def test_a_feature_parsed_as_two_dtypes_is_left_out(self) -> None:
        def build(x: Any) -> None:
            parse(x, f=tf.float32, both=tf.float32)
            parse(x, i=tf.int64, both=tf.int64)

        assert floats_of(graph_of(build)) == {"s": {"f"}}

    def test_examples_from_somewhere_else_do_not_count(self) -> None:
        def build(x: Any) -> None:
            parse(tf.strings.join([x, "suffix"]), f=tf.float32)

        assert floats_of(graph_of(build)) == {}

    def test_only_an_input_called_inputs_may_be_examples(self) -> None:
        assert floats_of(graph_of(lambda x: parse(x, f=tf.float32), name="x")) == {}

    @pytest.mark.parametrize(("dtype", "found"), [("string", {"s": {"f"}}), ("float32", {"s": {"f"}}), ("int64", {})])
    def test_only_a_string_may_be_examples_or_a_float_that_lies(self, dtype: str, found: dict[str, Any]) -> None:
        meta_graph = graph_of(lambda x: parse(x, f=tf.float32))
        meta_graph.signature_def["s"].inputs["inputs"].dtype = tf.as_dtype(dtype).as_datatype_enum
        assert floats_of(meta_graph) == found

    def test_a_second_input_or_a_tensor_that_is_not_there_gives_none(self) -> None:
        meta_graph = graph_of(lambda x: parse(x, f=tf.float32))
        meta_graph.signature_def["two"].inputs["inputs"].CopyFrom(meta_graph.signature_def["s"].inputs["inputs"])
        meta_graph.signature_def["two"].inputs["more"].name = "more:0"
        meta_graph.signature_def["s"].inputs["inputs"].name = "absent:0"
        assert floats_of(meta_graph) == {}

    def test_functions_that_call_themselves_or_are_not_there_end_the_search(self) -> None:
        def build(x: Any) -> None:
            tf.function(lambda serialized: tf.function(tf.strings.length)(serialized))(x)

        meta_graph = graph_of(build)
        caller, callee = sorted(
            meta_graph.graph_def.library.function, key=lambda function: "Call" not in str(function.node_def)
        )
        for called in (caller.signature.name, "absent"):
            for node in caller.node_def:
                if "Call" in node.op:
                    node.attr["f"].func.name = called
            assert floats_of(meta_graph) == {}
        assert callee.signature.name != caller.signature.name
