"""The examples of classify and regress: JSON objects of features, to be made into tf.train.Example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from serving.errors import InvalidArgument
from serving.tensors.decode import decode_string, is_base64
from serving.tensors.echo import cut, type_name

FeatureKind = Literal["bytes", "float", "int64"]
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class Feature:
    """The values of one feature, all of one kind; an empty list has none."""

    kind: FeatureKind | None
    values: list[Any]


Example = Mapping[str, Feature]


def decode_examples(examples: list[Any], context: Any) -> list[Example]:
    """One Example for each JSON object; what `context` holds is added where the example has nothing of that name."""
    shared = _example(context) if context is not None else {}
    return [{**shared, **_example(example)} for example in examples]


def _example(value: Any) -> dict[str, Feature]:
    if type(value) is not dict:
        raise InvalidArgument(f"Example must be JSON object but got JSON {type_name(value)}")
    return {name: _feature(name, content) for name, content in value.items()}


def _feature(name: str, content: Any) -> Feature:
    kind: FeatureKind | None = None
    values = []
    for element in content if type(content) is list else [content]:
        came = _kind(name, element)
        if kind not in (None, came):
            raise InvalidArgument(f"Unexpected element type in feature: {cut(name)} expecting type: {kind}")
        kind = came
        values.append(decode_string(element) if came == "bytes" else element)
    return Feature(kind, values)


def _kind(name: str, element: Any) -> FeatureKind:
    if type(element) is float:
        return "float"
    if type(element) in (int, bool):
        if element > _INT64_MAX:
            raise InvalidArgument(f"Feature: {cut(name)} has uint64_t element. Only int64_t is supported.")
        return "int64"
    if type(element) is str or is_base64(element):
        return "bytes"
    raise InvalidArgument(f"Feature: {cut(name)} has element with unexpected JSON type: {type_name(element)}")
