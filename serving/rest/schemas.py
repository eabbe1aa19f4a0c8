"""The envelopes of requests, as marshmallow schemas: a field reads tensors whole, never number by number.

A schema's messages are those of TensorFlow Serving; `load` turns the first of them into an InvalidArgument.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing

from serving.errors import InvalidArgument
from serving.models.signature import Signature
from serving.tensors.decode import decode_columns, decode_rows
from serving.tensors.echo import echo
from serving.tensors.examples import decode_examples
from serving.tensors.reader import Reader
from serving.tensors.spec import Array, TensorSpec


def load(schema: Schema, document: Any) -> dict[str, Any]:
    """Validate a JSON document; InvalidArgument with the first message when it does not fit."""
    _check_object(document)
    try:
        loaded: dict[str, Any] = schema.load(document, partial=())  # None costs a look whether it is a generator
    except ValidationError as error:
        raise InvalidArgument(_first(error.messages)) from None
    return loaded


def _check_object(document: Any) -> None:
    if type(document) is not dict:
        raise InvalidArgument(f"JSON Value: {echo(document)} Is not object")


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


_SIGNATURE_NAME = SignatureName()


def signature_name(document: Any) -> str:
    """The name of the signature that a request calls; the rest of what it may say depends on that."""
    _check_object(document)
    try:
        return _SIGNATURE_NAME.deserialize(document.get("signature_name", missing), "signature_name", document)
    except ValidationError as error:
        raise InvalidArgument(_first(error.messages)) from None


class Rows(fields.Field[dict[str, Array]]):
    """The tensors of a request in row format, each read whole; never a field for each number."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        super().__init__()
        self._specs = specs

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if (value is missing) is ("inputs" not in data):
            raise ValidationError(
                "Missing 'inputs' or 'instances' key"
                if value is missing
                else f"JSON Value: {echo(data)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
                "keys to exist "
            )
        if value is missing:
            return value
        if not isinstance(value, list):
            raise ValidationError(f"JSON Value: {echo(data)} Expecting 'instances' to be an list/array")
        if not value:
            raise ValidationError(f"JSON Value: {echo(data)} No values in 'instances' array")
        return decode_rows(value, self._specs)


class Columns(fields.Field[dict[str, Array]]):
    """The tensors of a request in column format, each read whole."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        super().__init__()
        self._specs = specs

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if value is missing or "instances" in data:
            return missing
        return decode_columns(value, self._specs)


class Predict(Schema):
    """The tensors of a predict request, in one of the two formats, whose fields know the signature.

    That there is just one of them is checked by the first, for a hook to do so would take longer than both.
    """

    class Meta:
        unknown = EXCLUDE


class PredictForm:
    """How predict requests to one signature are read: fast where a body is usual, and the schema of their documents."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        self.reader = Reader(specs)
        self.schema: Schema = Predict.from_dict({"instances": Rows(specs), "inputs": Columns(specs)})()


_predict_forms: WeakKeyDictionary[Signature, PredictForm] = WeakKeyDictionary()


def predict_form(signature: Signature) -> PredictForm:
    """The form of predict requests to a signature, made once and kept as long as the signature is."""
    form = _predict_forms.get(signature)
    if form is None:
        form = _predict_forms[signature] = PredictForm(signature.inputs)
    return form


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
