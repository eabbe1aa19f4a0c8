"""What those hear who called a model or wanted it loaded, where TensorFlow cannot do it."""

import re
from collections.abc import Mapping
from typing import Any

from tensorflow.core.protobuf import error_codes_pb2

from serving import errors
from serving.caller import TIMED_OUT
from serving.models.runtime import tf
from serving.models.signature import Signature
from serving.tensors.spec import Array, shape_text

_ERRORS: dict[int, type[errors.ServingError]] = {
    tf.errors.CANCELLED: errors.Cancelled,
    tf.errors.INVALID_ARGUMENT: errors.InvalidArgument,
    tf.errors.NOT_FOUND: errors.NotFound,
    tf.errors.FAILED_PRECONDITION: errors.FailedPrecondition,
    tf.errors.OUT_OF_RANGE: errors.InvalidArgument,
    tf.errors.UNIMPLEMENTED: errors.Unimplemented,
    tf.errors.UNAVAILABLE: errors.Unavailable,
}

_PREFIX = "Graph execution error:"
_ENDS = ("\nDetected at node", "\n\nOriginal stack trace", "\nHint: If you want to see")
_NODE = re.compile(r"\s*\[\[(?:\{\{.*?\}\}|[\w./<>-]+/_\d+)\]\]")
_DEVICE = re.compile(r"/job:\S*/(?=device:)")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.@+-]+/)+[\w.@+-]*")
_SOURCE = re.compile(r",? (?:in file|at) (?:[\w.-]+/)+[\w.]+:\d+")
_OF_ONEDNN = re.compile(r"/mkl/|Input dims must be")
"""What its kernels say of shapes that they cannot compute, with a code that TensorFlow has for other things."""


def clean_message(error: BaseException) -> str:
    """What an error says, without graph nodes, stack and paths."""
    text = (error.message if isinstance(error, tf.errors.OpError) else str(error)).removeprefix(_PREFIX)
    for end in _ENDS:
        text = text.split(end)[0]
    text = _SOURCE.sub("", _DEVICE.sub("", _NODE.sub("", text)))
    text = _PATH.sub(lambda path: path.group().rsplit("/", 1)[-1] or "...", text)
    return " ".join(text.split())[:1024] or type(error).__name__


def error_code(error: BaseException) -> str:
    """The name of the TensorFlow status code that fits an error of loading."""
    if isinstance(error, errors.ServingError):
        return error.code
    if isinstance(error, tf.errors.OpError):
        return str(error_codes_pb2.Code.Name(error.error_code))
    return "INTERNAL"


def run_error(
    error: Any, signature: Signature, timeout_seconds: float, inputs: Mapping[str, Array]
) -> errors.ServingError:
    """The error of a run as one of ours."""
    if error.error_code == tf.errors.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(
            f"{TIMED_OUT}: the model took longer than the {timeout_seconds:.3g} seconds allowed"
        )
    text = clean_message(error)
    if error.error_code == tf.errors.RESOURCE_EXHAUSTED:
        return errors.Unavailable(f"The model ran out of memory; try fewer rows at once. {text}")
    if error.error_code == tf.errors.ABORTED and _OF_ONEDNN.search(error.message):
        return errors.InvalidArgument(text + _unexpected_shapes(signature, inputs))
    if error.error_code == tf.errors.INVALID_ARGUMENT:
        text += _unexpected_shapes(signature, inputs)
    return _ERRORS.get(error.error_code, errors.ServingError)(text)


def _unexpected_shapes(signature: Signature, inputs: Mapping[str, Array]) -> str:
    """The inputs whose shape is not the one that the signature states, which may be why a run failed."""
    return "".join(
        f' (input "{name}" has shape {shape_text(inputs[name].shape)}, the signature states {spec.shape_text()})'
        for name, spec in signature.inputs.items()
        if not spec.accepts(inputs[name].shape)
    )


def check_shapes(signature: Signature, inputs: Mapping[str, Array]) -> None:
    """Refuse tensors that oneDNN's convolutions do not bear: of another rank than is stated, or smaller.

    Rows and scalars, and sizes that a signature leaves open, may be any.
    """
    for name, spec in signature.inputs.items():
        stated, shape = spec.shape, inputs[name].shape
        if not stated:
            continue
        sizes = zip(stated[1:], shape[1:], strict=False)
        if len(stated) != len(shape) or any(want is not None and got < want for want, got in sizes):
            raise errors.InvalidArgument(f"The model cannot compute this shape{_unexpected_shapes(signature, inputs)}")
