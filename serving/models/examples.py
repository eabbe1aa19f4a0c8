"""Examples of features to serialized tf.train.Example, the input of signatures made for classify and regress."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.errors import InvalidArgument
from serving.models.runtime import tf
from serving.tensors.examples import Example, FeatureKind
from serving.tensors.spec import Array

_TYPES: dict[FeatureKind, type] = {"bytes": bytes, "float": float, "int64": int}
"""What the lists of a feature take; they refuse a bool for an int."""


def serialize_examples(examples: Sequence[Example], float_features: frozenset[str]) -> Array:
    """A [len(examples)] string tensor. Integers of a feature named in `float_features` are written as floats."""
    serialized = np.empty(len(examples), dtype=object)
    serialized[:] = [_serialize(example, float_features) for example in examples]
    return serialized


def parse_example(data: bytes) -> dict[str, list[Any]]:
    """The values of each feature of a serialized Example."""
    features = tf.train.Example.FromString(data).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: list(getattr(features[name], kind).value) for name, kind in sorted(kinds.items()) if kind}


def _serialize(example: Example, float_features: frozenset[str]) -> bytes:
    message = tf.train.Example()
    for name, feature in example.items():
        kind = "float" if feature.kind == "int64" and name in float_features else feature.kind
        target = message.features.feature[name]
        if kind is None:
            continue
        try:
            getattr(target, f"{kind}_list").value.extend(map(_TYPES[kind], feature.values))
        except ValueError as error:
            raise InvalidArgument(f"Feature: {name}: {error}") from None
    data: bytes = message.SerializeToString()
    return data
