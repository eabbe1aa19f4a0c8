"""What warm-up records make a model run; what is run is seen by a recorder, or by a model that counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.errors import InvalidArgument
from serving.models.runtime import Device, session_config, tf
from serving.models.servable import Servable
from serving.models.signature import Signature
from serving.models.warmup import MAX_RECORDS, warm_up
from serving.tensors.spec import TensorSpec
from tests import saved_models

CONFIG = session_config(Device(None, "CPU"), threads=2)


class Recorder:
    """Notes what it is asked to run: signatures that take `x`, and `classify` that takes `inputs`."""

    def __init__(self) -> None:
        self.signatures: Mapping[str, Any] = {
            name: Signature(name, {tensor: TensorSpec(tensor, "DT_STRING", (None,))}, {}, "")
            for name, tensor in {"serving_default": "x", "other": "x", "classify": "inputs"}.items()
        }
        self.metadata: Mapping[str, Any] = {}
        self.runs: list[tuple[str, dict[str, list[Any]]]] = []

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.runs.append((signature, {name: array.tolist() for name, array in inputs.items()}))
        return {}

    def close(self) -> None: ...


def write(model_path: Path, *records: PredictionLog | bytes) -> None:
    file = model_path / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())


def example(**features: float) -> tf.train.Example:
    message = tf.train.Example()
    for name, value in features.items():
        message.features.feature[name].float_list.value.append(value)
    return message


def test_a_model_without_records_is_not_run(tmp_path: Path) -> None:
    recorder = Recorder()
    assert warm_up(recorder, tmp_path) == 0
    assert recorder.runs == []


def test_every_record_is_run_once(tmp_path: Path) -> None:
    saved_models.counter(tmp_path / "1")
    saved_models.write_warmup(tmp_path / "1", {"delta": np.float32(2)}, "increment_by", count=3)
    servable = Servable(tmp_path / "1", CONFIG, 30.0)
    assert warm_up(servable, tmp_path / "1") == 3
    assert servable.run("get", {})["count"] == 6


def test_a_predict_record_names_its_signature_or_means_the_default_one(tmp_path: Path) -> None:
    named, unnamed = PredictionLog(), PredictionLog()
    named.predict_log.request.model_spec.signature_name = "other"
    for log in (named, unnamed):
        log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([b"two\0\0", b""]))
    write(tmp_path, named, unnamed)
    recorder = Recorder()
    assert warm_up(recorder, tmp_path) == 2
    assert recorder.runs == [("other", {"x": [b"two\0\0", b""]}), ("serving_default", {"x": [b"two\0\0", b""]})]


@pytest.mark.parametrize("kind", ["classify_log", "regress_log"])
def test_examples_are_run_serialized(kind: str, tmp_path: Path) -> None:
    log = PredictionLog()
    request = getattr(log, kind).request
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.extend([example(x=1), example(x=2)])
    write(tmp_path, log)
    recorder = Recorder()
    warm_up(recorder, tmp_path)
    ((signature, inputs),) = recorder.runs
    assert signature == "classify"
    assert [tf.train.Example.FromString(data) for data in inputs["inputs"]] == [example(x=1), example(x=2)]


def test_a_context_is_added_to_each_example_where_that_has_no_feature_of_the_name(tmp_path: Path) -> None:
    log = PredictionLog()
    log.regress_log.request.model_spec.signature_name = "classify"
    listed = log.regress_log.request.input.example_list_with_context
    listed.context.CopyFrom(example(y=5, z=6))
    listed.examples.extend([example(x=1), example(x=2, y=0)])
    write(tmp_path, log)
    recorder = Recorder()
    warm_up(recorder, tmp_path)
    ((_, inputs),) = recorder.runs
    assert [tf.train.Example.FromString(data) for data in inputs["inputs"]] == [
        example(x=1, y=5, z=6),
        example(x=2, y=0, z=6),
    ]


def test_records_that_rest_has_no_request_for_are_passed_over(tmp_path: Path) -> None:
    log = PredictionLog()
    log.session_run_log.SetInParent()
    write(tmp_path, log)
    recorder = Recorder()
    assert warm_up(recorder, tmp_path) == 1
    assert recorder.runs == []


def test_the_most_records_are_run_and_one_more_is_refused(tmp_path: Path) -> None:
    saved_models.write_warmup(tmp_path, {"x": [b""]}, count=MAX_RECORDS)
    recorder = Recorder()
    assert warm_up(recorder, tmp_path) == MAX_RECORDS == len(recorder.runs)
    saved_models.write_warmup(tmp_path, {"x": [b""]}, count=MAX_RECORDS + 1)
    with pytest.raises(InvalidArgument, match=r"^Number of warmup records exceeds the maximum \(1000\)$"):
        warm_up(Recorder(), tmp_path)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("nosuch", {"x": [b""]}, 'Warm-up names signature "nosuch", which the model does not have'),
        ("other", {"y": [b""]}, "Warm-up of signature \"other\" gives inputs ['y'], the model takes ['x']"),
        ("other", {}, "Warm-up of signature \"other\" gives inputs [], the model takes ['x']"),
    ],
)
def test_a_record_for_another_model_is_refused(
    signature: str, inputs: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    saved_models.write_warmup(tmp_path, inputs, signature)
    with pytest.raises(InvalidArgument) as caught:
        warm_up(Recorder(), tmp_path)
    assert caught.value.message == message


def test_a_record_that_the_model_refuses_raises_what_a_request_would(tmp_path: Path) -> None:
    saved_models.raises(tmp_path / "1")
    saved_models.write_warmup(tmp_path / "1", {"x": np.array([0], np.int32)})
    with pytest.raises(InvalidArgument, match=r"^Integer division by zero$"):
        warm_up(Servable(tmp_path / "1", CONFIG, 30.0), tmp_path / "1")


def test_a_damaged_file_raises(tmp_path: Path) -> None:
    saved_models.garble(saved_models.write_warmup(tmp_path, {"x": [b""]}))
    with pytest.raises(tf.errors.DataLossError):
        warm_up(Recorder(), tmp_path)
