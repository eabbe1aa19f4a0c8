"""What the protocol tells of a model: its tensors, as metadata and as the configuration that Triton's tools read."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.models.lifecycle import Handle
from serving.models.limits import DEFAULT_ROWS
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.tensors.datatypes import PROTO_NAMES
from serving.tensors.spec import TensorSpec

_NOT_CALLED = "__saved_model_"
"""How the names of signatures begin that only loading runs."""

PLATFORM = "tensorflow_savedmodel"


def model_metadata(handle: Handle, versions: Sequence[int]) -> dict[str, Any]:
    """The metadata of a model: of its default signature, or of the only one that it has."""
    signature, image_input = described(handle), handle.servable.about.image_input
    return {
        "name": handle.model,
        "versions": [str(version) for version in sorted(versions)],
        "platform": PLATFORM,
        "inputs": _tensors(signature.inputs if signature else {}),
        "outputs": _tensors(signature.outputs if signature else {}),
        **({"parameters": {"image_input": image_input.document}} if image_input else {}),
    }


def model_config(handle: Handle) -> dict[str, Any]:
    """The configuration of a model; with a batch size, dimensions do not count the rows."""
    signature = described(handle)
    inputs: Mapping[str, TensorSpec] = signature.inputs if signature else {}
    outputs: Mapping[str, TensorSpec] = signature.outputs if signature else {}
    in_rows = _in_rows([*inputs.values(), *outputs.values()])
    return {
        "name": handle.model,
        "platform": PLATFORM,
        "backend": "tensorflow",
        "max_batch_size": _max_batch_rows(handle, signature) if in_rows else 0,
        "input": [_config(spec, in_rows) | {"optional": False} for spec in inputs.values()],
        "output": [_config(spec, in_rows) for spec in outputs.values()],
    }


def described(handle: Handle) -> Signature | None:
    """The signature that a request without the name of one runs; None where the model has several, none the default."""
    signatures: Mapping[str, Signature] = handle.servable.signatures
    if DEFAULT_SIGNATURE in signatures:
        return signatures[DEFAULT_SIGNATURE]
    names = signature_names(handle)
    return signatures[names[0]] if len(names) == 1 else None


def signature_names(handle: Handle) -> list[str]:
    """The signatures that are meant to be called."""
    return [name for name in handle.servable.signatures if not name.startswith(_NOT_CALLED)]


def _tensors(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": _datatype(spec), "shape": _sizes(spec)} for spec in specs.values()]


def _config(spec: TensorSpec, in_rows: bool) -> dict[str, Any]:
    datatype = _datatype(spec)
    dims = _sizes(spec)[1:] if in_rows else _sizes(spec)
    return {"name": spec.name, "data_type": "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}", "dims": dims}


def _in_rows(specs: Sequence[TensorSpec]) -> bool:
    return bool(specs) and all(spec.shape and len(spec.shape) > 1 and spec.shape[0] is None for spec in specs)


def _max_batch_rows(handle: Handle, signature: Signature | None) -> int:
    """What is called the largest batch of a model whose tensors all have rows; larger requests run too."""
    batching = handle.servable.batching.get(signature.name, {}) if signature else {}
    return int(batching.get("max_rows", DEFAULT_ROWS))


def _datatype(spec: TensorSpec) -> str:
    """The name of a datatype; one that does not travel keeps TensorFlow's."""
    return PROTO_NAMES.get(spec.proto, spec.proto.removeprefix("DT_"))


def _sizes(spec: TensorSpec) -> list[int]:
    """The shape, -1 for a dimension that is variable; one such dimension where the rank is unknown."""
    return [-1] if spec.shape is None else [-1 if size is None else size for size in spec.shape]
