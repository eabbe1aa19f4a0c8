"""Warm-up: the requests that TensorFlow Serving's exporters leave with a model, run before it is made available.

`assets.extra/tf_serving_warmup_requests` is a TFRecord of PredictionLog, at most 1000 records.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import InvalidArgument
from serving.models.about import Requests
from serving.models.lifecycle import Runnable
from serving.models.runtime import tf
from serving.models.signature import DEFAULT_SIGNATURE
from serving.tensors.spec import Array

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000
MAX_SAMPLE_BYTES = 1024 * 1024
"""Larger requests are not kept in memory as samples."""


def warm_up(servable: Runnable, model_path: Path) -> int:
    """Run the model's warm-up records, if it has any, and say how many; a record that fails raises."""
    count = 0
    for count, log in enumerate(_logs(model_path), start=1):
        if count > MAX_RECORDS:
            raise InvalidArgument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS})")
        for signature, inputs in _requests(log):
            _check(servable, signature, inputs)
            servable.run(signature, inputs)
    return count


def first_requests(model_path: Path) -> Requests:
    """The first request of each signature in the warm-up records that is small enough to be kept."""
    found: dict[str, dict[str, Array]] = {}
    for log in _logs(model_path):
        for signature, inputs in _requests(log):
            if sum(array.nbytes for array in inputs.values()) <= MAX_SAMPLE_BYTES:
                found.setdefault(signature, inputs)
    return found


def _logs(model_path: Path) -> Iterator[Any]:
    path = model_path / WARMUP_FILE
    if path.is_file():
        yield from map(prediction_log_pb2.PredictionLog.FromString, tf.compat.v1.io.tf_record_iterator(str(path)))


def _requests(log: Any) -> Iterator[tuple[str, dict[str, Array]]]:
    """The signature and tensors of a logged request; kinds of log that REST has no request for give nothing."""
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        tensors = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        yield request.model_spec.signature_name or DEFAULT_SIGNATURE, tensors
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        yield request.model_spec.signature_name or DEFAULT_SIGNATURE, {"inputs": _examples(request.input)}


def _examples(message: Any) -> Array:
    context = b""
    examples = message.example_list.examples
    if message.WhichOneof("kind") == "example_list_with_context":
        context = message.example_list_with_context.context.SerializeToString()
        examples = message.example_list_with_context.examples
    serialized = np.empty(len(examples), dtype=object)
    serialized[:] = [context + example.SerializeToString() for example in examples]
    return serialized


def _check(servable: Runnable, signature: str, inputs: dict[str, Array]) -> None:
    known = servable.signatures.get(signature)
    if known is None:
        raise InvalidArgument(f'Warm-up names signature "{signature}", which the model does not have')
    if inputs.keys() != known.inputs.keys():
        raise InvalidArgument(
            f'Warm-up of signature "{signature}" gives inputs {sorted(inputs)}, the model takes {sorted(known.inputs)}'
        )
