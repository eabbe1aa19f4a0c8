"""What a request sends, as the tensors that a signature takes.

Names, datatypes and shapes are held against the signature before anything is read.
"""

import math
from collections.abc import Sequence

from serving.errors import InvalidArgument, Unimplemented
from serving.models.signature import Signature
from serving.rest.v2.body import HEADER
from serving.rest.v2.schemas import SentInput
from serving.tensors.binary import decode_binary, strings_bytes
from serving.tensors.datatypes import PROTO_NAMES
from serving.tensors.echo import cut
from serving.tensors.row_major import decode_row_major
from serving.tensors.spec import Array, DType, Kind, TensorSpec, shape_text, strings


def read_inputs(signature: Signature, sent: Sequence[SentInput], tail: memoryview) -> dict[str, Array]:
    """One tensor for each input of the signature; `tail` holds the binary data, in the order of the inputs."""
    tensors: dict[str, Array] = {}
    position = 0
    for one in sent:
        _check(signature, one)
        if one.binary_bytes is None:
            tensors[one.name] = decode_row_major(one.name, one.dtype, one.shape, one.data)
            continue
        end = position + one.binary_bytes
        if end > len(tail):
            raise InvalidArgument(
                f'input "{one.name}" promises {one.binary_bytes} bytes of binary data, but {len(tail) - position} are '
                f"left behind the JSON, whose length {HEADER} states"
            )
        tensors[one.name] = decode_binary(one.name, one.dtype, one.shape, tail[position:end])
        position = end
    if position != len(tail):
        raise InvalidArgument(f"{len(tail) - position} bytes are left over behind the binary data of the inputs")
    if len(tensors) != len(signature.inputs):
        missing = next(name for name in signature.inputs if name not in tensors)
        raise InvalidArgument(f'input "{missing}" is missing; {_takes(signature)}')
    return tensors


def binary_strings_bytes(sent: Sequence[SentInput]) -> int:
    """What the strings take in memory that are to be read from binary data."""
    return sum(
        strings_bytes(one.shape, one.binary_bytes)
        for one in sent
        if one.binary_bytes is not None and one.dtype.kind is Kind.STRING
    )


def read_raw_input(signature: Signature, body: memoryview) -> dict[str, Array]:
    """The tensor of the only input, from a body that is nothing but its bytes; a string is not preceded by its length.

    The size of the body tells the one dimension that may be variable, where there are more the others are 1.
    """
    if len(signature.inputs) != 1:
        raise InvalidArgument(f"{HEADER} is 0, which takes a model with one input; {_takes(signature)}")
    ((name, spec),) = signature.inputs.items()
    dtype = _dtype(spec)
    if dtype.kind is Kind.STRING:
        shape = _fill(spec, 1)
        if math.prod(shape) != 1:
            raise InvalidArgument(f'{HEADER} is 0, which takes one element; input "{name}" has {spec.shape_text()}')
        return {name: strings([bytes(body)]).reshape(shape)}
    return {name: decode_binary(name, dtype, _fill(spec, len(body) // dtype.numpy.itemsize), body)}


def _check(signature: Signature, sent: SentInput) -> None:
    spec = signature.inputs.get(sent.name)
    if spec is None:
        raise InvalidArgument(f'unexpected input "{cut(sent.name)}"; {_takes(signature)}')
    if _dtype(spec) is not sent.dtype:
        raise InvalidArgument(
            f'input "{sent.name}" has datatype {sent.datatype}, but {PROTO_NAMES[spec.proto]} is expected'
        )
    if not spec.accepts(sent.shape):
        raise InvalidArgument(
            f'input "{sent.name}" has shape {shape_text(sent.shape)}, but {spec.shape_text()} is expected'
        )


def _dtype(spec: TensorSpec) -> DType:
    dtype = spec.dtype
    if dtype is None:
        raise Unimplemented(f'input "{spec.name}" is of type {spec.proto}, which the protocol has no datatype for')
    return dtype


def _fill(spec: TensorSpec, elements: int) -> tuple[int, ...]:
    """The shape of the signature where the last variable dimension holds what is left of so many elements."""
    sizes = [None] if spec.shape is None else list(spec.shape)
    rest = elements // max(1, math.prod(size for size in sizes if size is not None))
    last = max((place for place, size in enumerate(sizes) if size is None), default=None)
    return tuple([size if size is not None else rest if place == last else 1 for place, size in enumerate(sizes)])


def _takes(signature: Signature) -> str:
    names = ", ".join(signature.inputs)
    return f"the model takes {cut(names, 1024)}" if names else "the model takes no inputs"
