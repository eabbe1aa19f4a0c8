"""The envelopes of requests, as marshmallow schemas: one field for each key, never one for each number.

A schema's messages are those of TensorFlow Serving; `load` turns the first of them into an InvalidArgument.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing, pre_load

from serving.errors import InvalidArgument
from serving.tensors.echo import echo
from serving.tensors.examples import decode_examples


def load(schema: Schema, document: Any) -> dict[str, Any]:
    """Validate a JSON document; InvalidArgument with the first message when it does not fit."""
    if type(document) is not dict:
        raise InvalidArgument(f"JSON Value: {echo(document)} Is not object")
    try:
        loaded: dict[str, Any] = schema.load(document)
    except ValidationError as error:
        raise InvalidArgument(_first(error.messages)) from None
    return loaded


def _first(messages: Any) -> str:
    while not isinstance(messages, str):
        messages = next(iter(messages.values() if isinstance(messages, Mapping) else messages))
    return messages


class SignatureName(fields.Field[str]):
    """The name of a signature; absent is "", the default one."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> str:
        if value is missing:
            return ""
        if not isinstance(value, str):
            raise ValidationError(
                f"JSON Value: {echo(data)} not formatted correctly. 'signature_name' key must be a string value."
            )
        return value


class Envelope(Schema):
    """What every request may say; the rest depends on the signature that it names."""

    class Meta:
        unknown = EXCLUDE

    signature_name = SignatureName()


class Instances(fields.Field[list[Any]]):
    """Row format: one element a row."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if value is missing:
            return missing
        if not isinstance(value, list):
            raise ValidationError(f"JSON Value: {echo(data)} Expecting 'instances' to be an list/array")
        if not value:
            raise ValidationError(f"JSON Value: {echo(data)} No values in 'instances' array")
        return value


class Predict(Schema):
    """The tensors of a predict request, in one of the two formats."""

    class Meta:
        unknown = EXCLUDE

    instances = Instances()
    inputs = fields.Raw(allow_none=True)

    @pre_load
    def _check_format(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if "instances" not in data and "inputs" not in data:
            raise ValidationError("Missing 'inputs' or 'instances' key")
        if "instances" in data and "inputs" in data:
            raise ValidationError(
                f"JSON Value: {echo(data)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
                "to exist "
            )
        return data


class Context(fields.Field[Any]):
    """The features that all examples share, None where there are none; checked before the examples are looked for."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if value is missing:
            return None
        decode_examples([value], None)
        return value


class ExampleList(fields.Field[list[Any]]):
    """The examples of a classify or regress request; upstream has one text for both."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> list[Any]:
        if value is missing:
            raise ValidationError(
                f"JSON Value: {echo(data)} When method is classify, key 'examples' is expected and was not found"
            )
        if not isinstance(value, list):
            raise ValidationError(f"JSON Value: {echo(data)} Expecting 'examples' value to be an list/array")
        if not value:
            raise ValidationError(f"JSON Value: {echo(data)} 'examples' value is an empty array")
        return value


class Examples(Schema):
    """The body of a classify or regress request. The order of the fields is the order of the checks."""

    class Meta:
        unknown = EXCLUDE

    context = Context()
    examples = ExampleList()
