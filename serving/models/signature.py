"""Signatures: what can be called of a SavedModel, read from its SignatureDefs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from tensorflow.core.framework import types_pb2

from serving.models.features import Features, float_features, parsed_features
from serving.tensors.spec import TensorSpec

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True, eq=False)
class Signature:
    """What can be called: the inputs it takes and the outputs it gives, by name."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    definition: str
    """The SignatureDef as text, for error messages."""
    float_features: frozenset[str] = frozenset()
    """Features of tf.train.Example that the graph parses as floats, where the input is such examples."""
    features: Features = field(default_factory=dict)
    """All features that the graph is seen to parse."""


def read_signatures(meta_graph: Any) -> dict[str, Signature]:
    """The signatures of a MetaGraphDef by name, in the order of their names."""
    features = parsed_features(meta_graph)
    return {
        name: _signature(name, definition, features.get(name, {}))
        for name, definition in sorted(meta_graph.signature_def.items())
    }


def _signature(name: str, definition: Any, features: Features) -> Signature:
    floats = float_features(features)
    return Signature(name, _specs(definition.inputs), _specs(definition.outputs), str(definition), floats, features)


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _spec(name, info) for name, info in sorted(infos.items())}


def _spec(name: str, info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    proto = types_pb2.DataType.Name(info.dtype).removesuffix("_REF")  # a TF1 variable, whose values are what travels
    return TensorSpec(name, proto, sizes)


def signature_metadata(definition: Any) -> dict[str, Any]:
    """The SignatureDef as the JSON of its protobuf, with proto field names and defaults written out."""
    return json_format.MessageToDict(
        definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
