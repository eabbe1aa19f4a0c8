"""A decoder of tensors that is slow and obvious: what the fast ones are held against."""

import base64
import re
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from serving.errors import InvalidArgument
from serving.tensors.spec import Array

DECIMALS: dict[str, Any] = {
    "half": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float": np.float32,
    "double": np.float64,
}
INTEGERS: dict[str, Any] = {
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
NUMPY: dict[str, Any] = {**DECIMALS, **INTEGERS, "bool": np.bool_, "string": np.object_}
RANGES = {
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-2147483648, 2147483647),
    "int64": (-9223372036854775808, 9223372036854775807),
    "uint8": (0, 255),
    "uint16": (0, 65535),
    "uint32": (0, 4294967295),
    "uint64": (0, 18446744073709551615),
}


class RefusedError(Exception):
    """The reference does not accept the document."""


def refuse_unless(condition: bool) -> None:
    if not condition:
        raise RefusedError


def reference_element(value: Any, dtype: str) -> Any:
    """One scalar of a tensor; what a dtype accepts is the table of the contract."""
    if dtype in DECIMALS:
        refuse_unless(type(value) in (int, float))
        with np.errstate(over="ignore"):
            return np.float64(value).astype(NUMPY[dtype])
    if dtype in INTEGERS:
        low, high = RANGES[dtype]
        refuse_unless(type(value) is int and low <= value <= high)
        return NUMPY[dtype](value)
    if dtype == "bool":
        refuse_unless(type(value) is bool)
        return np.bool_(value)
    if type(value) is str:
        return value.encode()
    refuse_unless(reference_is_base64(value))
    text = re.sub(r"\s", "", value["b64"], flags=re.ASCII)
    refuse_unless(bool(re.fullmatch(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}(==)?|[A-Za-z0-9+/]{3}=?)?", text)))
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))


def reference_is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def reference_shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    return (len(value), *(reference_shape(value[0]) if value else ()))


def reference_elements(value: Any, shape: tuple[int, ...], dtype: str) -> list[Any]:
    if not shape:
        refuse_unless(not isinstance(value, list))
        return [reference_element(value, dtype)]
    refuse_unless(isinstance(value, list) and len(value) == shape[0])
    return [item for element in value for item in reference_elements(element, shape[1:], dtype)]


def reference_tensor(value: Any, dtype: str) -> Array:
    shape = reference_shape(value)
    elements = reference_elements(value, shape, dtype)
    array = np.empty(len(elements), NUMPY[dtype])
    for index, element in enumerate(elements):
        array[index] = element
    return array.reshape(shape)


def reference_columns(inputs: Any, dtypes: Mapping[str, str]) -> dict[str, Array]:
    if not isinstance(inputs, dict) or reference_is_base64(inputs):
        refuse_unless(len(dtypes) == 1)
        inputs = dict.fromkeys(dtypes, inputs)
    refuse_unless(inputs.keys() >= dtypes.keys())
    return {name: reference_tensor(inputs[name], dtype) for name, dtype in dtypes.items()}


def reference_rows(instances: list[Any], dtypes: Mapping[str, str]) -> dict[str, Array]:
    named = [isinstance(instance, dict) and not reference_is_base64(instance) for instance in instances]
    refuse_unless(len(set(named)) == 1)
    if not named[0]:
        refuse_unless(len(dtypes) == 1)
        instances = [dict.fromkeys(dtypes, instance) for instance in instances]
    refuse_unless(all(instance.keys() == dtypes.keys() for instance in instances))
    tensors = {}
    for name, dtype in dtypes.items():
        arrays = [reference_tensor(instance[name], dtype) for instance in instances]
        refuse_unless(len({array.shape for array in arrays}) == 1)
        tensors[name] = np.stack(arrays)
    return tensors


def outcome(function: Any, *arguments: Any) -> Any:
    """What a function gives, to the bit; or that it refuses."""
    try:
        tensors = function(*arguments)
    except (RefusedError, InvalidArgument):
        return "refused"
    return {
        name: (array.dtype, array.shape, array.tolist() if array.dtype == object else array.tobytes())
        for name, array in tensors.items()
    }
