"""The envelopes of v2 requests, as marshmallow schemas: a tensor is read whole, never number by number.

    {"id": "1", "parameters": {}, "inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}],
     "outputs": [{"name": "y", "parameters": {"binary_data": true}}]}

What is null counts as absent, and what is not known is ignored. A schema knows nothing of the model: whether it has
such inputs and outputs is seen later. `load` of serving/rest/schemas.py turns the first message into an error.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing

from serving.tensors.datatypes import DATATYPES
from serving.tensors.decode import MAX_RANK
from serving.tensors.echo import cut, echo
from serving.tensors.spec import DType

MAX_ELEMENTS = 2**40
"""More elements than this are refused by their shape alone, whatever it is that holds them."""


class SentInput(NamedTuple):
    """An input as it was sent: its values are in `data`, or `binary_bytes` of what follows the JSON."""

    name: str
    dtype: DType
    datatype: str
    shape: tuple[int, ...]
    data: Any = None
    binary_bytes: int | None = None


class AskedOutput(NamedTuple):
    """An output that is asked for: `binary` is None where the request as a whole decides; `classes` is 0 for none."""

    name: str
    binary: bool | None = None
    classes: int = 0


class RequestParameters(NamedTuple):
    """The parameters of a request that mean something; `timeout` is in microseconds, 0 for none."""

    binary_output: bool = False
    timeout: int = 0
    signature_name: str = ""


Named = TypeVar("Named", SentInput, AskedOutput)


class Text(fields.Field[str]):
    """A string, "" when it is absent."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> str:
        if value is missing or value is None:
            return ""
        return value if type(value) is str else _refuse(attr, value, "a string")


class Parameters(fields.Field[RequestParameters]):
    """The parameters of a request."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> RequestParameters:
        sent = _parameters(value)
        if not sent:
            return _NO_PARAMETERS
        return RequestParameters(
            _flag(sent, "binary_data_output") or False, _whole(sent, "timeout"), _text(sent, "signature_name")
        )


class Inputs(fields.Field[tuple[SentInput, ...]]):
    """The inputs of a request, each with a name of its own; none calls a model that takes none."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        if value is missing or value is None:
            raise ValidationError('"inputs" is missing; it lists the input tensors')
        if type(value) is not list:
            _refuse(attr, value, "a list of input tensors")
        return _unique("input", [_located("input", place, item, _input) for place, item in enumerate(value)])


class Outputs(fields.Field[tuple[AskedOutput, ...]]):
    """The outputs asked for; none is all of them."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        if value is missing or value is None:
            return ()
        if type(value) is not list:
            _refuse(attr, value, "a list of outputs")
        return _unique("output", [_located("output", place, item, _output) for place, item in enumerate(value)])


class Infer(Schema):
    """The JSON of an inference request."""

    class Meta:
        unknown = EXCLUDE

    id = Text()
    parameters = Parameters()
    inputs = Inputs()
    outputs = Outputs()


class Ready(fields.Field[bool]):
    """Whether only what is ready is asked for."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> bool:
        if value is missing or value is None:
            return False
        return value if type(value) is bool else _refuse(attr, value, "true or false")


class Index(Schema):
    """The body of a repository index request."""

    class Meta:
        unknown = EXCLUDE

    ready = Ready()


class LoadParameters(fields.Field[None]):
    """The parameters of a load or unload request. What would change the model is refused, not ignored."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> None:
        for name in _parameters(value):
            if name == "config" or name.startswith("file:"):
                raise ValidationError(
                    f'parameter "{cut(name)}" is not supported: models are served as they are on disk'
                )


class Control(Schema):
    """The body of a repository load or unload request."""

    class Meta:
        unknown = EXCLUDE

    parameters = LoadParameters()


_NO_PARAMETERS = RequestParameters()


def _located(what: str, place: int, item: Any, read: Callable[[Any], Named]) -> Named:
    """What one of several is read as; an error that does not name it says which one it is."""
    try:
        return read(item)
    except ValidationError as error:
        (message,) = error.messages
        raise ValidationError(message if message.startswith(f'{what} "') else f"{what}s[{place}]: {message}") from None


def _input(sent: Any) -> SentInput:
    name = _name(sent, "input")
    parameters = _parameters(sent.get("parameters"))
    if parameters and "shared_memory_region" in parameters:
        raise ValidationError(f'input "{cut(name)}": shared memory is not supported; send the data')
    data, binary_bytes = sent.get("data"), parameters.get("binary_data_size")
    if (data is None) == (binary_bytes is None):
        what = 'neither "data" nor' if data is None else 'both "data" and'
        raise ValidationError(f'input "{cut(name)}" has {what} a "binary_data_size"; it has one of them')
    if binary_bytes is not None:
        binary_bytes = _whole(parameters, "binary_data_size")
    datatype = sent.get("datatype")
    if type(datatype) is not str or datatype not in DATATYPES:
        raise ValidationError(
            f'input "{cut(name)}": datatype is {echo(datatype)}, one of {", ".join(DATATYPES)} is expected'
        )
    return SentInput(name, DATATYPES[datatype], datatype, _shape(sent, name), data, binary_bytes)


def _output(sent: Any) -> AskedOutput:
    name = _name(sent, "output")
    parameters = _parameters(sent.get("parameters"))
    if not parameters:
        return AskedOutput(name)
    if "shared_memory_region" in parameters:
        raise ValidationError(f'output "{cut(name)}": shared memory is not supported; it is sent in the answer')
    return AskedOutput(name, _flag(parameters, "binary_data"), _whole(parameters, "classification"))


def _name(sent: Any, what: str) -> str:
    if type(sent) is not dict:
        raise ValidationError(f"an {what} is {echo(sent)}, an object is expected")
    name = sent.get("name")
    return name if type(name) is str and name else _refuse(f"name of an {what}", name, "a string that is not empty")


def _shape(sent: dict[str, Any], name: str) -> tuple[int, ...]:
    shape = sent.get("shape")
    if type(shape) is not list or len(shape) > MAX_RANK:
        raise ValidationError(
            f'input "{cut(name)}": shape is {echo(shape)}, a list of at most {MAX_RANK} sizes is expected'
        )
    sizes = tuple([size if type(size) is int else _size(size) for size in shape])
    elements = 1
    for size in sizes:
        elements *= size or 1
        if size < 0 or elements > MAX_ELEMENTS:
            what = "a size below 0" if size < 0 else "too many elements"
            raise ValidationError(f'input "{cut(name)}": shape {echo(shape)} has {what}')
    return sizes


def _size(size: Any) -> int:
    return int(size) if type(size) is float and size.is_integer() else _refuse("shape", size, "whole numbers")


def _parameters(value: Any) -> dict[str, Any]:
    if value is missing or value is None:
        return {}
    return value if type(value) is dict else _refuse("parameters", value, "an object")


def _flag(parameters: dict[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    return value if value is None or type(value) is bool else _refuse(name, value, "true or false")


def _whole(parameters: dict[str, Any], name: str) -> int:
    """A whole number from 0, also one written as a decimal; 0 when it is absent."""
    value = parameters.get(name)
    if value is None:
        return 0
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else _refuse(name, value, "a whole number, 0 or more")


def _text(parameters: dict[str, Any], name: str) -> str:
    value = parameters.get(name)
    return "" if value is None else value if type(value) is str else _refuse(name, value, "a string")


def _unique(what: str, named: list[Named]) -> tuple[Named, ...]:
    if len({one.name for one in named}) != len(named):
        ((name, _),) = Counter(one.name for one in named).most_common(1)
        raise ValidationError(f'{what} "{cut(name)}" is there more than once')
    return tuple(named)


def _refuse(what: str | None, value: Any, expected: str) -> Any:
    raise ValidationError(f"{what} is {echo(value)}, {expected} is expected")
