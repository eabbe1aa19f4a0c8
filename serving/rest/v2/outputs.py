"""What a model has answered, as the pieces of an answer: JSON, then the bytes of the outputs asked for as binary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from serving.errors import InvalidArgument
from serving.models.lifecycle import Handle
from serving.models.signature import Signature
from serving.rest.v2.schemas import AskedOutput
from serving.tensors.binary import encode_binary
from serving.tensors.cost import answer_bytes
from serving.tensors.datatypes import NAMES
from serving.tensors.echo import cut
from serving.tensors.encode import NonFinite, encode_flat
from serving.tensors.spec import Array, memory_bytes, strings


@dataclass(frozen=True)
class Wanted:
    """What an answer shall hold: the outputs, in their order, and the request's id, "" for none."""

    outputs: Sequence[AskedOutput]
    request_id: str = ""

    def bytes_of(self, tensors: Mapping[str, Array]) -> int:
        """The most that it takes to write what is wanted of these tensors; binary numbers are sent as they lie."""
        texts = {one.name: tensors[one.name] for one in self.outputs if not one.binary}
        binary = [tensors[one.name] for one in self.outputs if one.binary]
        return answer_bytes(texts) + sum(memory_bytes(array) for array in binary if array.dtype == object)


def choose_outputs(signature: Signature, asked: Sequence[AskedOutput], binary: bool) -> tuple[AskedOutput, ...]:
    """The outputs that are asked for, all where none is; `binary` holds for those that do not say."""
    for one in asked:
        if one.name not in signature.outputs:
            names = cut(", ".join(signature.outputs), 1024)
            raise InvalidArgument(f'unexpected output "{cut(one.name)}"; the model gives {names}')
    if not asked:
        return tuple([AskedOutput(name, binary) for name in signature.outputs])
    return tuple([AskedOutput(one.name, binary, one.classes) if one.binary is None else one for one in asked])


def render(
    handle: Handle, wanted: Wanted, tensors: Mapping[str, Array], non_finite: NonFinite
) -> list[bytes | memoryview]:
    """The JSON of an answer, and behind it the bytes of each output that is wanted as binary."""
    outputs: list[dict[str, Any]] = []
    document: dict[str, Any] = {"model_name": handle.model, "model_version": str(handle.version), "outputs": outputs}
    if wanted.request_id:
        document["id"] = wanted.request_id
    pieces: list[bytes | memoryview] = [b""]
    for one in wanted.outputs:
        array = tensors[one.name]
        if one.classes:
            array = top_classes(one.name, array, one.classes)
        output: dict[str, Any] = {"name": one.name, "datatype": _datatype(one.name, array), "shape": array.shape}
        if one.binary:
            pieces.append(encode_binary(array))
            output["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            output["data"] = _data(one.name, array, non_finite)
        outputs.append(output)
    pieces[0] = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return pieces


def top_classes(name: str, scores: Array, count: int) -> Array:
    """For each row of scores [b, ...] the highest, as strings `score:index` [b, min(count, scores of a row)]."""
    if scores.dtype == object or scores.ndim == 0:
        raise InvalidArgument(f'output "{cut(name)}" cannot be classified: it has no rows of numbers')
    rows = scores.reshape(len(scores), math.prod(scores.shape[1:])) if scores.ndim > 1 else scores.reshape(1, -1)
    form = "%d:%d" if scores.dtype.kind in "iub" else "%f:%d"
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = [
        (form % (row[index], index)).encode() for row, indices in zip(rows, best, strict=True) for index in indices
    ]
    return strings(texts).reshape(best.shape)


def _datatype(name: str, array: Array) -> str:
    datatype = NAMES.get(array.dtype)
    if datatype is None:
        raise InvalidArgument(f'output "{cut(name)}" is of type {array.dtype.name}, which the protocol has no name for')
    return datatype


def _data(name: str, array: Array, non_finite: NonFinite) -> Any:
    if array.dtype != object:
        return encode_flat(name, array, non_finite)
    try:
        return [value.decode() for value in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidArgument(
            f'output "{cut(name)}" holds bytes that are not UTF-8, which JSON cannot carry; ask for it with the '
            'parameter "binary_data": true'
        ) from None
