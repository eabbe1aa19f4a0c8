"""Every kind of SavedModel through a servable: its numbers, its errors, and what a failure leaves behind."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf import config_pb2

from serving import errors
from serving.caller import Caller
from serving.models.failures import clean_message, error_code
from serving.models.runtime import Device, session_config, tf
from serving.models.servable import Servable
from serving.tensors.spec import DTYPES, TensorSpec, shape_text
from tests import saved_models
from tests.saved_models import Shelf

CONFIG = session_config(Device(None, "CPU"), threads=2)
TIMEOUT = 30.0
SHORT_TIMEOUT = 0.3
DEFAULT = saved_models.DEFAULT
INF = float("inf")
NAN = float("nan")
Factory = Callable[..., Any]
"""Writes a model."""
Fresh = Callable[[Factory], Servable]


def strings(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def floats(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def scalar(value: Any, dtype: Any = np.float32) -> np.ndarray:
    return np.array(value, dtype)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("models"))


class Servables:
    """Loads each model once, when it is first asked for."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._loaded: dict[tuple[Path, float], Servable] = {}

    def __call__(self, factory: Callable[..., Any], timeout: float = TIMEOUT, **options: Any) -> Servable:
        path = self._shelf(factory, **options)
        if (path, timeout) not in self._loaded:
            self._loaded[path, timeout] = Servable(path, CONFIG, timeout)
        return self._loaded[path, timeout]


@pytest.fixture(scope="session")
def loaded(shelf: Shelf) -> Servables:
    return Servables(shelf)


@dataclass(frozen=True)
class Case:
    """A call and its answer. Arrays are compared with dtype and shape, decimals to six digits."""

    factory: Callable[..., Any]
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    signature: str = DEFAULT
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.factory.__name__, self.signature, *map(str, self.options)])

    def check(self, servable: Servable) -> None:
        outputs = servable.run(self.signature, self.inputs)
        assert outputs.keys() == self.outputs.keys()
        for name, expected in self.outputs.items():
            assert (outputs[name].dtype, outputs[name].shape) == (expected.dtype, expected.shape)
            compare = np.testing.assert_array_equal if expected.dtype == object else np.testing.assert_allclose
            compare(outputs[name], expected, **({} if expected.dtype == object else {"rtol": 1e-6}))


def echoed(dtype: str, *values: Any) -> Case:
    x = np.array(values, DTYPES["DT_" + dtype.upper()].numpy)
    return Case(saved_models.echo, {"x": x}, {"y": x}, dtype)


EXAMPLE = tf.train.Example()
EXAMPLE.features.feature["x"].float_list.value.append(3.0)
EXAMPLES = {"inputs": strings(EXAMPLE.SerializeToString())}

CASES = [
    Case(saved_models.half_plus_two, {"x": floats([1], [2])}, {"y": floats([2.5], [3])}),
    Case(saved_models.scale, {"x": floats(1, 2)}, {"y": floats(3, 6)}, options={"factor": 3.0}),
    *(echoed(dtype, 0, 1, 1.5, -2.0, 1e4) for dtype in ("float", "double", "half", "bfloat16")),
    *(echoed(dtype, 0, 1, -128, 127) for dtype in ("int8", "int16", "int32", "int64")),
    *(echoed(dtype, 0, 1, 255) for dtype in ("uint8", "uint16", "uint32", "uint64")),
    echoed("int64", 2**63 - 1, -(2**63)),
    echoed("uint64", 2**64 - 1),
    echoed("bool", True, False),
    echoed("string", b"a", b"", b"\xff\xd8", b"two\0\0"),
    *(Case(saved_models.echo, {"x": x}, {"y": x}, "float") for x in (floats(), floats([[1, 2]]), scalar(1.5))),
    Case(saved_models.echo, {"x": scalar(b"a\0", object)}, {"y": scalar(b"a\0", object)}, "string"),
    Case(
        saved_models.several_inputs,
        {"a": floats([1, 2], [3, 4]), "b": np.array([10, 20]), "c": strings(b"x", b"y")},
        {"sum": floats(13, 27), "text": strings(b"x:10", b"y:20")},
    ),
    Case(saved_models.several_signatures, {"x": floats(3)}, {"y": floats(6)}),
    Case(saved_models.several_signatures, {"x": floats(3)}, {"y": floats(-3)}, "negate"),
    Case(saved_models.several_signatures, {"x": floats(3)}, {"y": floats(1.5)}, "halve"),
    Case(saved_models.several_signatures, {}, {"y": floats(42)}, "constant"),
    Case(saved_models.no_batch, {"x": scalar(3)}, {"y": scalar(9)}),
    Case(
        saved_models.no_batch,
        {"x": floats([1, 2, 3], [4, 5, 6], [7, 8, 9])},
        {"y": floats([1, 4, 7], [2, 5, 8], [3, 6, 9])},
        "matrix",
    ),
    Case(saved_models.fixed_batch, {"x": floats([1, 2], [3, 4], [5, 6], [7, 8])}, {"y": floats(3, 7, 11, 15)}),
    Case(saved_models.batch_dependent, {"x": floats(1, 3)}, {"y": floats(-1, 1)}),
    Case(
        saved_models.bytes_output,
        {"x": strings(b"a\0")},
        {"image_bytes": strings(b"\xff\xd8\xffa\0"), "text": strings(b"a\0")},
    ),
    Case(saved_models.not_finite, {"x": floats(7)}, {"y": floats([NAN, INF, -INF, 7])}),
    Case(saved_models.raises, {"x": np.array([7], np.int32)}, {"y": np.array([14], np.int32)}),
    Case(saved_models.endless, {"x": floats(-1)}, {"y": floats(-1)}),
    Case(saved_models.memory_hog, {"n": np.array(2)}, {"y": floats(0, 0)}),
    Case(saved_models.slow, {"x": np.array([2, 1], np.int32)}, {"y": np.array([2, 1], np.int32)}),
    Case(saved_models.vocabulary, {"word": strings(b"cherry", b"kiwi")}, {"id": np.array([2, -1])}),
    Case(saved_models.vocabulary_of_tf1, {"word": strings(b"banana")}, {"id": np.array([1])}),
    Case(saved_models.vocabulary_of_tf1, {"word": strings(b"banana")}, {"id": np.array([1])}, options={"legacy": True}),
    Case(saved_models.counter, {}, {"count": scalar(0)}, "get"),
    Case(
        saved_models.passthrough,
        {"x": floats(1), "z": floats(2)},
        {"x": floats(1), "sum": floats(3), "total": floats(3)},
    ),
    Case(saved_models.pinned_to_gpu, {"x": floats(4)}, {"y": floats(8)}),
    Case(saved_models.examples, EXAMPLES, {"outputs": floats([3.5])}),
    Case(saved_models.examples, EXAMPLES, {"outputs": floats([3.5])}, "lying"),
    Case(
        saved_models.examples,
        EXAMPLES,
        {"classes": np.array([[b"low", b"high"]], object), "scores": floats([3.5, 7])},
        "classify",
    ),
    Case(saved_models.examples, EXAMPLES, {"outputs": floats([3.5])}, options={"old_parser": True}),
    Case(saved_models.examples_of_tf2, EXAMPLES, {"outputs": floats([3.5])}),
    Case(saved_models.optimizer_slots, {"x": floats(1)}, {"y": floats(2)}),
    Case(saved_models.cannot_be_run, {"x": floats(1)}, {"y": floats(2)}, "double"),
    Case(saved_models.nothing_fetched, {"x": floats(5)}, {"same": floats(5)}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_answers_the_right_numbers(case: Case, loaded: Servables) -> None:
    case.check(loaded(case.factory, **case.options))


@pytest.fixture
def without_private_callables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TensorFlow as it may become: with no more than the public `Session.run`."""
    monkeypatch.delattr(tf.compat.v1.Session.__base__, "_make_callable_from_options")


@pytest.fixture(scope="session")
def loaded_publicly(shelf: Shelf) -> Servables:
    """For tests that run `without_private_callables`."""
    return Servables(shelf)


@pytest.mark.usefixtures("without_private_callables")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_answers_the_same_the_public_way(case: Case, loaded_publicly: Servables) -> None:
    case.check(loaded_publicly(case.factory, **case.options))


@pytest.mark.parametrize("factory", [saved_models.mlp, saved_models.conv], ids=lambda factory: factory.__name__)
def test_networks_answer_as_tensorflow_itself_does(
    factory: Callable[..., Any], shelf: Shelf, loaded: Servables
) -> None:
    ((name, spec),) = loaded(factory).signatures[DEFAULT].inputs.items()
    rows = np.random.default_rng(0).normal(size=(3, *spec.shape[1:])).astype(np.float32)
    reference = tf.saved_model.load(str(shelf(factory))).signatures[DEFAULT](**{name: tf.constant(rows)})
    outputs = loaded(factory).run(DEFAULT, {name: rows})
    np.testing.assert_allclose(outputs["y"], reference["y"].numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    "factory", [saved_models.keras3_exported, saved_models.keras3_saved], ids=lambda factory: factory.__name__
)
def test_a_keras_3_model_answers_as_keras_does(factory: Callable[[Path], Any], tmp_path: Path) -> None:
    model = factory(tmp_path)
    rows = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    servable = Servable(tmp_path, CONFIG, TIMEOUT)
    (name,) = servable.signatures[DEFAULT].inputs
    np.testing.assert_allclose(servable.run(DEFAULT, {name: rows})["output_0"], model(rows).numpy(), rtol=1e-5)


def test_tensorflow_still_has_the_private_callables() -> None:
    session = tf.compat.v1.Session(graph=tf.Graph(), config=CONFIG)
    with session.graph.as_default():
        doubled = 2 * tf.compat.v1.placeholder(tf.float32, [None], "x")
    make = getattr(session, "_make_callable_from_options", None)
    assert make is not None, "a servable now runs ten times slower, by Session.run: look for what replaced this"
    options = config_pb2.CallableOptions(feed=["x:0"], fetch=[doubled.name])
    options.run_options.timeout_in_ms = 1000
    (values,) = make(options)(floats(1, 2))
    assert values.tolist() == [2, 4]


class TestState:
    def test_a_variable_keeps_its_value_between_calls_and_belongs_to_one_servable(self, shelf: Shelf) -> None:
        first, second = (Servable(shelf(saved_models.counter), CONFIG, TIMEOUT) for _ in range(2))
        assert [float(first.run("increment", {})["count"]) for _ in range(3)] == [1, 2, 3]
        assert float(first.run("increment_by", {"delta": scalar(4.5)})["count"]) == 7.5
        assert float(second.run("get", {})["count"]) == 0

    def test_many_threads_may_run_it_from_the_first_call_on(self, shelf: Shelf) -> None:
        servable = Servable(shelf(saved_models.several_signatures), CONFIG, TIMEOUT)
        barrier = threading.Barrier(8)
        results = {}

        def call(number: int) -> None:
            barrier.wait()
            results[number] = servable.run("halve", {"x": floats(number)})["y"].tolist()

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {number: [number / 2] for number in range(8)}

    def test_closing_twice_is_safe(self, shelf: Shelf) -> None:
        servable = Servable(shelf(saved_models.half_plus_two), CONFIG, TIMEOUT)
        servable.close()
        servable.close()


class TestDescription:
    def test_signatures_have_specs_in_the_order_of_their_names(self, loaded: Servables) -> None:
        signature = loaded(saved_models.several_inputs).signatures[DEFAULT]
        assert list(signature.inputs.values()) == [
            TensorSpec("a", "DT_FLOAT", (None, 2)),
            TensorSpec("b", "DT_INT64", (None,)),
            TensorSpec("c", "DT_STRING", (None,)),
        ]
        assert list(signature.outputs) == ["sum", "text"]
        assert 'method_name: "tensorflow/serving/predict"' in signature.definition

    def test_an_unknown_rank_is_none_and_a_scalar_is_empty(self, loaded: Servables) -> None:
        assert loaded(saved_models.echo).signatures["float"].inputs["x"].shape is None
        assert loaded(saved_models.no_batch).signatures[DEFAULT].inputs["x"].shape == ()

    def test_a_ref_variable_is_told_by_the_dtype_of_its_values(self, loaded: Servables) -> None:
        assert loaded(saved_models.counter).signatures["reset"].outputs["count"].proto == "DT_FLOAT"

    def test_metadata_has_the_signatures_of_the_file_even_those_that_cannot_be_run(self, loaded: Servables) -> None:
        assert loaded(saved_models.cannot_be_run).metadata.keys() == {DEFAULT, "double", "nothing", "sparse"}
        assert loaded(saved_models.half_plus_two).metadata[DEFAULT]["inputs"]["x"]["tensor_shape"]["dim"] == [
            {"size": "-1", "name": ""},
            {"size": "1", "name": ""},
        ]

    def test_features_parsed_as_floats_are_known(self, loaded: Servables) -> None:
        signatures = loaded(saved_models.examples).signatures
        assert signatures["lying"].float_features == {"x", "y", "weights"}


@pytest.mark.parametrize(
    ("factory", "signature", "reason"),
    [
        (saved_models.cannot_be_run, "nothing", "it has no outputs"),
        (saved_models.cannot_be_run, "sparse", '"x" is not a plain tensor'),
        (saved_models.cannot_be_run, DEFAULT, "Tensor absent:0, .* was not found in the Graph"),
        (saved_models.passthrough, "same_input", 'its inputs "also_x" and "x" are one and the same tensor'),
        (saved_models.half_plus_two, "__saved_model_init_op", "Node 'NoOp' .* does not have output 0"),
    ],
)
def test_a_signature_that_cannot_be_run_says_why(
    factory: Callable[..., Any], signature: str, reason: str, loaded: Servables
) -> None:
    servable = loaded(factory)
    inputs = dict.fromkeys(servable.signatures[signature].inputs, floats(1))
    for _ in range(2):
        with pytest.raises(errors.FailedPrecondition, match=f'^Signature "{signature}" cannot be run: {reason}$'):
            servable.run(signature, inputs)


@pytest.mark.usefixtures("without_private_callables")
@pytest.mark.parametrize("signature", ["nothing", "sparse", DEFAULT])
def test_a_signature_that_cannot_be_run_fails_alike_the_public_way(signature: str, loaded_publicly: Servables) -> None:
    with pytest.raises(errors.FailedPrecondition, match=f'^Signature "{signature}" cannot be run: '):
        loaded_publicly(saved_models.cannot_be_run).run(signature, {"x": floats(1)})


@pytest.fixture
def fresh(shelf: Shelf) -> Iterator[Callable[[Factory], Servable]]:
    """Loads a model for one test."""
    with ExitStack() as ends:
        yield lambda factory: ends.enter_context(closing(Servable(shelf(factory), CONFIG, TIMEOUT)))


def test_a_run_in_the_callers_thread_gives_the_same(loaded: Servables) -> None:
    servable = loaded(saved_models.mlp)
    x = {"x": np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)}
    before = servable.run("serving_default", x)
    for signatures in (["serving_default"], []):
        servable.run_in_callers_thread(signatures)
        assert np.array_equal(servable.run("serving_default", x)["y"], before["y"])


class TestErrors:
    @pytest.mark.parametrize(
        ("factory", "inputs", "message"),
        [
            (saved_models.raises, {"x": np.array([0], np.int32)}, "Integer division by zero"),
            (
                saved_models.raises,
                {"x": np.array([100], np.int32)},
                "assertion failed: [x is too large] [Condition x < y did not hold element-wise:] "
                "[x (x:0) = ] [100] [y (assert_less/y:0) = ] [100]",
            ),
            (
                saved_models.fixed_batch,
                {"x": np.ones((3, 2), np.float32)},
                "Matrix size-incompatible: In[0]: [4,4], In[1]: [3,2] "
                '(input "x" has shape [3,2], the signature states [4,2])',
            ),
            (
                saved_models.half_plus_two,
                {"x": np.ones((1, 1))},
                "Type mismatch: actual double vs. expect float",
            ),
            (saved_models.memory_hog, {"n": np.array(-1)}, "Dimension -1 must be >= 0"),
            (
                saved_models.examples,
                {"inputs": strings(b"")},
                "Name: <unknown>, Feature: x (data type: float) is required but could not be found.",
            ),
        ],
    )
    def test_what_the_model_refuses_is_an_invalid_argument(
        self, factory: Callable[..., Any], inputs: Mapping[str, np.ndarray], message: str, loaded: Servables
    ) -> None:
        with pytest.raises(errors.InvalidArgument) as caught:
            loaded(factory).run(DEFAULT, inputs)
        assert caught.value.message == message

    @pytest.mark.parametrize("shape", [(), (3,), (2, 3), (64, 64, 3), (1, 0, 64, 3), (1, 32, 32, 3), (1, 4, 64, 64, 3)])
    def test_a_convolution_is_spared_shapes_of_which_some_end_the_process_or_give_numbers_of_no_meaning(
        self, shape: tuple[int, ...], loaded: Servables
    ) -> None:
        with pytest.raises(errors.InvalidArgument, match=rf'input "image" has shape {re.escape(shape_text(shape))}'):
            loaded(saved_models.conv).run(DEFAULT, {"image": np.zeros(shape, np.float32)})

    @pytest.mark.parametrize("shape", [(1, 64, 64, 3), (3, 64, 64, 3), (2, 96, 80, 3)])
    def test_a_convolution_computes_what_is_no_smaller_than_is_stated(
        self, shape: tuple[int, ...], loaded: Servables
    ) -> None:
        y = loaded(saved_models.conv).run(DEFAULT, {"image": np.zeros(shape, np.float32)})["y"]
        assert y.tolist() == pytest.approx(np.full((shape[0], 10), 0.1))

    def test_a_scalar_beside_a_convolution_may_have_any_shape_and_the_image_may_not(self, fresh: Fresh) -> None:
        servable = fresh(saved_models.brightened)
        image = np.ones((2, 4, 4, 1), np.float32)
        for by in (scalar(3), floats(3), floats([3]), np.ones((1, 1, 1, 1), np.float32)):
            answer = servable.run(DEFAULT, {"image": image, "by": by})["y"]
            assert answer.shape == (2, 4, 4, 1)
        with pytest.raises(errors.InvalidArgument, match=r'input "image" has shape \[4,4,1\]'):
            servable.run(DEFAULT, {"image": image[0], "by": scalar(3)})

    def test_a_pool_that_is_larger_than_the_image_gives_nothing_or_an_error_without_a_path(self, fresh: Fresh) -> None:
        image = np.ones((1, 1, 1, 1), np.float32)
        try:
            outcome = str(fresh(saved_models.pool).run(DEFAULT, {"image": image})["y"].shape)
        except errors.InvalidArgument as error:  # of oneDNN's kernel
            outcome = error.message
        assert outcome == "(1, 0, 0, 1)" or "pooling" in outcome
        assert "tensorflow/" not in outcome

    @pytest.mark.usefixtures("without_private_callables")
    def test_the_public_way_refuses_shapes_that_the_signature_does_not_state(self, loaded_publicly: Servables) -> None:
        servable = loaded_publicly(saved_models.half_plus_two)
        with pytest.raises(errors.InvalidArgument, match=r"Cannot feed value of shape \(2,\)"):
            servable.run(DEFAULT, {"x": floats(1, 2)})

    @pytest.mark.parametrize(
        ("factory", "endless", "harmless"),
        [
            (saved_models.endless, floats(1), floats(-1)),
            (saved_models.slow, np.array([10**6], np.int32), np.array([1], np.int32)),
        ],
    )
    def test_a_run_that_takes_too_long_is_stopped_and_the_next_one_works(
        self, factory: Callable[..., Any], endless: np.ndarray, harmless: np.ndarray, loaded: Servables
    ) -> None:
        servable = loaded(factory, timeout=SHORT_TIMEOUT)
        started = time.perf_counter()
        with pytest.raises(
            errors.DeadlineExceeded,
            match=r"^Timed out waiting for notification: the model took longer than the 0\.3 seconds",
        ):
            servable.run(DEFAULT, {"x": endless})
        assert time.perf_counter() - started < 15 * SHORT_TIMEOUT
        assert servable.run(DEFAULT, {"x": harmless})["y"].tolist() == harmless.tolist()

    def test_a_loop_is_stopped_when_its_callers_time_is_over(self, loaded: Servables) -> None:
        servable = loaded(saved_models.endless, timeout=60)
        now = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded, match=r"took longer than the 0\.[23]\d* seconds"):
            servable.run(DEFAULT, {"x": floats(1)}, Caller(now, now + 0.3))
        assert servable.run(DEFAULT, {"x": floats(-1)}, Caller(now, now + 30))["y"].tolist() == [-1]

    def test_a_model_out_of_memory_asks_for_fewer_rows_and_the_next_run_works(self, loaded: Servables) -> None:
        servable = loaded(saved_models.memory_hog)
        with pytest.raises(
            errors.Unavailable,
            match=r"^The model ran out of memory; try fewer rows at once\. OOM when allocating tensor with "
            r"shape\[4611686018427387904\] and type float on device:CPU:0 by allocator \w+$",
        ):
            servable.run(DEFAULT, {"n": np.array(2**62)})
        assert servable.run(DEFAULT, {"n": np.array(3)})["y"].tolist() == [0, 0, 0]


class TestCleanMessage:
    @pytest.mark.parametrize(
        ("text", "cleaned"),
        [
            ("no good\n\t [[{{function_node __inference_f_1}}{{node a/b}}]]", "no good"),
            (
                "2 root error(s) found.\n  (0) bad\n\t [[{{node x}}]]\n\t [[x/y/_5]]\n  (1) bad",
                "2 root error(s) found. (0) bad (1) bad",
            ),
            (
                "Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):",
                "InvalidArgumentError",
            ),
            ("Graph execution error:\n\nwrong\n\nOriginal stack trace for 'a':\n  File", "wrong"),
            ("/srv/models/m/1/variables/variables.index; No such file", "variables.index; No such file"),
            ("cannot open '/srv/m/1/'", "cannot open '...'"),
            ("no primitive, in file tensorflow/core/kernels/mkl/mkl_maxpooling_op.cc:211", "no primitive"),
            ("[[1 2] [3 4]] is not 1/2 of and/or", "[[1 2] [3 4]] is not 1/2 of and/or"),
            (
                "on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc",
                "on device:GPU:0 by allocator GPU_0_bfc",
            ),
            ("x" * 2000, "x" * 1024),
            ("", "InvalidArgumentError"),
        ],
    )
    def test_nodes_stacks_and_paths_are_left_out(self, text: str, cleaned: str) -> None:
        assert clean_message(tf.errors.InvalidArgumentError(None, None, text)) == cleaned

    def test_any_exception_has_a_message(self) -> None:
        assert clean_message(ValueError("wrong /a/b/c here")) == "wrong c here"
        assert clean_message(MemoryError()) == "MemoryError"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (tf.errors.DataLossError(None, None, ""), "DATA_LOSS"),
        (tf.errors.NotFoundError(None, None, ""), "NOT_FOUND"),
        (errors.Unavailable(""), "UNAVAILABLE"),
        (KeyError(""), "INTERNAL"),
    ],
)
def test_an_error_of_loading_has_the_code_of_tensorflow(error: Exception, code: str) -> None:
    assert error_code(error) == code


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_hundred_failing_loads_leave_memory_as_it_was(tmp_path: Path) -> None:
    saved_models.counter(tmp_path / "1")
    saved_models.garble(tmp_path / "1" / "variables" / "variables.data-00000-of-00001")

    def fail() -> None:
        with pytest.raises(tf.errors.DataLossError):
            Servable(tmp_path / "1", CONFIG, TIMEOUT)

    for _ in range(20):
        fail()
    before = resident_bytes()
    for _ in range(100):
        fail()
    assert resident_bytes() - before < 20 * 2**20
