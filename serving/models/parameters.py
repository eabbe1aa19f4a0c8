"""TensorFlow Serving's batching parameters: a text protobuf, for the server and in a model's directory.

    max_batch_size { value: 128 }
    batch_timeout_micros { value: 1000 }
    max_enqueued_batches { value: 100 }
    allowed_batch_sizes: 8
    allowed_batch_sizes: 128

Files that TensorFlow Serving accepts work unchanged. The message is upstream's BatchingParameters, which its Python
package leaves out; it is built here from the table below.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

from serving.errors import SettingsError
from serving.models.text_proto import parse_message, read_text

log = logging.getLogger(__name__)

MODEL_FILE = "batching_params.pbtxt"
"""A file of this name in a version's directory holds for that version, as in TensorFlow Serving; in the directory above
it holds for all versions of the model."""

_WRAPPED = {
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "enable_large_batch_splitting": (8, "BoolValue"),
    "max_execution_batch_size": (9, "Int64Value"),
}
"""Number and type of the fields that are messages with a `value`."""
_PLAIN = {
    "allowed_batch_sizes": (6, descriptor_pb2.FieldDescriptorProto.TYPE_INT64, True),
    "pad_variable_length_inputs": (7, descriptor_pb2.FieldDescriptorProto.TYPE_BOOL, False),
}
"""Number and type of the others, and whether they repeat."""
_AT_LEAST = {
    "max_batch_size": 1,
    "batch_timeout_micros": 0,
    "max_enqueued_batches": 1,
    "num_batch_threads": 1,
    "max_execution_batch_size": 1,
}
_WITHOUT_EFFECT = ("num_batch_threads", "thread_pool_name")


@dataclass(frozen=True)
class BatchingParameters:
    """What a file asks for, under upstream's names; None where it leaves the choice to the server.

    `for_model` when the file is the model's own, so that its author has this model in mind.
    """

    max_batch_size: int | None = None
    batch_timeout_micros: int = 0
    max_enqueued_batches: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None
    for_model: bool = False


NOTHING_ASKED = BatchingParameters()


def parameters_of_model(path: Path, common: BatchingParameters) -> BatchingParameters:
    """The parameters for the version in the directory `path`: of its own file, of its model's, else the common ones.

    A file replaces the common parameters altogether, as upstream. SettingsError names the file, without its directory.
    """
    places = (path, path.parent) if path.name.isdecimal() else (path,)
    file = next((place / MODEL_FILE for place in places if (place / MODEL_FILE).is_file()), None)
    if file is None:
        return common
    try:
        return parse_parameters(read_text(file), for_model=True)
    except SettingsError as error:
        raise SettingsError(f"{MODEL_FILE}: {error.message.removeprefix(f'{file}: ')}") from error


def read_parameters(path: Path | None) -> BatchingParameters:
    """The parameters of the server's file, if it has one; errors begin with its path."""
    if path is None:
        return NOTHING_ASKED
    text = read_text(path)
    try:
        return parse_parameters(text)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}") from error


def parse_parameters(text: str, for_model: bool = False) -> BatchingParameters:
    """The parameters in a text; SettingsError names the field that is wrong."""
    message = parse_message(text, _Message())
    given = {name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)}
    for name, minimum in _AT_LEAST.items():
        if given.get(name, minimum) < minimum:
            raise SettingsError(f"{name} is {given[name]}, expected {minimum} or more")
    for name in _WITHOUT_EFFECT:
        if given.pop(name, None) is not None:
            log.info("batching parameter %s has no effect: a worker runs one batch of a model at a time", name)
    given["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    given["pad_variable_length_inputs"] = message.pad_variable_length_inputs
    _check_allowed(given)
    _check_execution_size(given)
    return BatchingParameters(**given, for_model=for_model)


def _check_allowed(given: Mapping[str, Any]) -> None:
    """Check the allowed sizes as upstream does; their last one stands for the largest where that is not given."""
    allowed = given["allowed_batch_sizes"]
    if not allowed:
        return
    if list(allowed) != sorted(set(allowed)) or allowed[0] < 1:
        raise SettingsError(f"allowed_batch_sizes are {list(allowed)}, expected ascending sizes, each 1 or more")
    largest = given.get("max_batch_size", allowed[-1])
    if allowed[-1] != largest:
        raise SettingsError(f"allowed_batch_sizes end with {allowed[-1]}, expected max_batch_size, which is {largest}")


def _check_execution_size(given: Mapping[str, Any]) -> None:
    execution, largest = given.get("max_execution_batch_size"), given.get("max_batch_size")
    if execution is None or not given.get("enable_large_batch_splitting"):
        return
    if largest is not None and execution > largest:
        raise SettingsError(f"max_execution_batch_size is {execution}, expected max_batch_size, {largest}, or less")


def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/batching_parameters.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    fields = file.message_type.add(name="BatchingParameters").field
    kind = descriptor_pb2.FieldDescriptorProto
    for name, (number, wrapper) in _WRAPPED.items():
        type_name = f".google.protobuf.{wrapper}"
        fields.add(name=name, number=number, type=kind.TYPE_MESSAGE, type_name=type_name, label=kind.LABEL_OPTIONAL)
    for name, (number, plain, repeats) in _PLAIN.items():
        label = kind.LABEL_REPEATED if repeats else kind.LABEL_OPTIONAL
        fields.add(name=name, number=number, type=plain, label=label)
    pool = descriptor_pool.DescriptorPool()  # our own, where it meets no other definition of the same name
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))


_Message = _message_class()
