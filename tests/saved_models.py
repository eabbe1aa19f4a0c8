"""Tiny SavedModels for tests and benchmarks, one function per kind, each written at `path`.

Every tensor is small and every weight is seeded, so the same call always answers the same numbers.
`path` is the version directory itself (`.../name/1`); its parents are created when missing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

Tensor: TypeAlias = Any
Signature: TypeAlias = Any
Shape: TypeAlias = Sequence[int | None] | None

SERVE = "serve"
DEFAULT = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
WORDS = ("apple", "banana", "cherry")
ECHO_DTYPES = (
    "float",
    "double",
    "half",
    "bfloat16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
)


class Shelf:
    """Writes each model once, when it is first asked for, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[tuple[str, str], Path] = {}

    def __call__(self, factory: Callable[..., Any], **options: Any) -> Path:
        """The version directory of the model that `factory` writes with these options; not to be written to."""
        key = (factory.__name__, repr(options))
        if key not in self._paths:
            path = self._folder / f"{factory.__name__}-{len(self._paths)}" / "1"
            factory(path, **options)
            self._paths[key] = path
        return self._paths[key]


# TensorFlow 2: a module and its concrete functions.


def _signature(function: Callable[..., Any], **inputs: tuple[Shape, str]) -> Signature:
    """Trace `function` with one named tensor per input, given as (shape, dtype)."""
    specs = {name: tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in inputs.items()}
    return tf.function(function).get_concrete_function(**specs)


def _save(path: Path, signatures: Signature | Mapping[str, Signature], **held: Any) -> None:
    """Save a module that holds the named variables, tables and assets."""
    module = tf.Module()
    for name, value in held.items():
        setattr(module, name, value)
    named = signatures if isinstance(signatures, Mapping) else {DEFAULT: signatures}
    tf.saved_model.save(module, str(path), signatures=dict(named))


def scale(path: Path, factor: float, bias: float = 0.0, shape: Shape = (None,)) -> None:
    """Answer `y = factor * x + bias` for float `x`, so that versions can be told apart."""
    held = {"factor": tf.Variable(factor), "bias": tf.Variable(bias)}

    def run(x: Tensor) -> dict[str, Tensor]:
        return {"y": held["factor"] * x + held["bias"]}

    _save(path, _signature(run, x=(shape, "float32")), **held)


def half_plus_two(path: Path) -> None:
    """Answer `y = 0.5 * x + 2` for float `x` of shape [-1, 1]."""
    scale(path, 0.5, 2.0, (None, 1))


def echo(path: Path) -> None:
    """Answer `y = x` at any rank, with one signature per dtype; the default one is int32."""

    def run(x: Tensor) -> dict[str, Tensor]:
        return {"y": tf.identity(x)}

    signatures = {dtype: _signature(run, x=(None, dtype)) for dtype in ECHO_DTYPES}
    _save(path, {**signatures, DEFAULT: _signature(run, x=(None, "int32"))})


def several_inputs(path: Path) -> None:
    """Answer `sum` and `text` for `a` float [-1, 2], `b` int64 [-1] and `c` string [-1]."""

    def run(a: Tensor, b: Tensor, c: Tensor) -> dict[str, Tensor]:
        total = tf.reduce_sum(a, axis=1) + tf.cast(b, tf.float32)
        return {"sum": total, "text": tf.strings.join([c, tf.as_string(b)], ":")}

    rows = (None,)
    _save(path, _signature(run, a=((None, 2), "float32"), b=(rows, "int64"), c=(rows, "string")))


def several_signatures(path: Path) -> None:
    """Answer `2 * x` by default, `-x` for `negate`, `x / 2` for `halve`, 42 for `constant`."""

    def times(factor: float) -> Signature:
        return _signature(lambda x: {"y": factor * x}, x=((None,), "float32"))

    constant = _signature(lambda: {"y": tf.constant([42.0])})
    signatures = {DEFAULT: times(2), "negate": times(-1), "halve": times(0.5)}
    _save(path, {**signatures, "constant": constant})


def total(path: Path) -> None:
    """Answer `y` [1], the sum of float `x` [-1]."""
    _save(path, _signature(lambda x: {"y": tf.reduce_sum(x)[None]}, x=((None,), "float32")))


def doubling(path: Path, *names: str) -> None:
    """Answer `y = 2 * x` for float `x` by signatures of these names, none of which is the default."""
    _save(path, {name: _signature(lambda x: {"y": 2 * x}, x=((None,), "float32")) for name in names})


def add_and_subtract(path: Path) -> None:
    """Answer `OUTPUT0`, the sum, and `OUTPUT1`, the difference, of `INPUT0` and `INPUT1`, int32 [-1, 16]."""

    def run(INPUT0: Tensor, INPUT1: Tensor) -> dict[str, Tensor]:  # noqa: N803, as the model of other servers' examples
        return {"OUTPUT0": INPUT0 + INPUT1, "OUTPUT1": INPUT0 - INPUT1}

    row = ((None, 16), "int32")
    _save(path, _signature(run, INPUT0=row, INPUT1=row))


def mixture(path: Path) -> None:
    """Answer `flag_out`, `half_out`, `number_out` and `text_out`, the inputs of the names before `_out`, each [-1]."""

    def run(**inputs: Tensor) -> dict[str, Tensor]:
        return {f"{name}_out": tf.identity(value) for name, value in inputs.items()}

    dtypes = {"flag": "bool", "half": "float16", "number": "int64", "text": "string"}
    _save(path, _signature(run, **{name: ((None,), dtype) for name, dtype in dtypes.items()}))


def no_batch(path: Path) -> None:
    """Square a float scalar by default, transpose a float [3, 3] for `matrix`."""
    square = _signature(lambda x: {"y": x * x}, x=((), "float32"))
    transpose = _signature(lambda x: {"y": tf.transpose(x)}, x=((3, 3), "float32"))
    _save(path, {DEFAULT: square, "matrix": transpose})


def fixed_batch(path: Path) -> None:
    """Answer row sums of exactly four rows: `x` float [4, 2], `y` float [4].

    A declared shape alone refuses nothing in a Session, so a product with a 4x4 matrix does.
    """

    def run(x: Tensor) -> dict[str, Tensor]:
        return {"y": tf.reduce_sum(tf.eye(4) @ x, axis=1)}

    _save(path, _signature(run, x=((4, 2), "float32")))


def batch_dependent(path: Path) -> None:
    """Answer `x - mean(x)`, so that a row in a batch differs from the row alone."""
    _save(path, _signature(lambda x: {"y": x - tf.reduce_mean(x, axis=0)}, x=((None,), "float32")))


def bytes_output(path: Path) -> None:
    """Answer `image_bytes`, `x` behind FF D8 FF (so never UTF-8), and `text`, `x` as it is."""

    def run(x: Tensor) -> dict[str, Tensor]:
        return {"image_bytes": tf.strings.join([b"\xff\xd8\xff", x]), "text": tf.identity(x)}

    _save(path, _signature(run, x=((None,), "string")))


def not_finite(path: Path) -> None:
    """Answer the row [NaN, inf, -inf, x] for each `x`, float [-1]."""

    def run(x: Tensor) -> dict[str, Tensor]:
        row = tf.constant([[np.nan, np.inf, -np.inf]], tf.float32)
        return {"y": tf.concat([tf.repeat(row, tf.size(x), axis=0), x[:, None]], axis=1)}

    _save(path, _signature(run, x=((None,), "float32")))


def raises(path: Path) -> None:
    """Answer `100 // x` for int32 `x`: 0 divides by zero, 100 and more fail an assertion."""

    def run(x: Tensor) -> dict[str, Tensor]:
        with tf.control_dependencies([tf.debugging.assert_less(x, 100, "x is too large")]):
            return {"y": 100 // x}

    _save(path, _signature(run, x=((None,), "int32")))


def endless(path: Path) -> None:
    """Answer float `x`, and never while some element of it is above zero."""

    def run(x: Tensor) -> dict[str, Tensor]:
        loop = tf.while_loop(lambda x: tf.reduce_any(x > 0), lambda x: (tf.abs(x) + 1,), (x,))
        return {"y": loop[0]}

    _save(path, _signature(run, x=((None,), "float32")))


def killer(path: Path) -> None:
    """Answer int32 `x`, and end the process when some element is 13.

    It does so as models in the field do, by a check in TensorFlow that fails: no image may be empty.
    """

    def run(x: Tensor) -> dict[str, Tensor]:
        side = tf.where(tf.reduce_any(x == 13), 0, 1)
        size = tf.strings.length(tf.io.encode_png(tf.zeros([side, side, 1], tf.uint8)))
        return {"y": x + tf.minimum(size, 0)}

    _save(path, _signature(run, x=((None,), "int32")))


def stuck(path: Path, usual_size: int = 128) -> None:
    """Answer int32 `x`, after minutes in one operation, which nothing can stop, when some element is 13.

    Otherwise it takes as long as the eigenvalues of a matrix of the usual size; of size 1, it passes for quick.
    """

    def run(x: Tensor) -> dict[str, Tensor]:
        size = tf.where(tf.reduce_any(x == 13), 5000, usual_size)
        values = tf.linalg.eigvalsh(tf.random.stateless_uniform([size, size], (1, 2)))
        return {"y": x + tf.cast(tf.minimum(tf.abs(values[0]), 0), tf.int32)}

    _save(path, _signature(run, x=((None,), "int32")))


def memory_hog(path: Path) -> None:
    """Answer `n` float zeros, n an int64 scalar.

    2 ** 62 of them fail at once; 2 ** 45 after the ten seconds for which TensorFlow retries.
    """
    _save(path, _signature(lambda n: {"y": tf.fill([n], 0.0)}, n=((), "int64")))


def slow(path: Path) -> None:
    """Answer int32 `x` after max(x) products of 256x256 matrices, some hundred a second or more."""

    def run(x: Tensor) -> dict[str, Tensor]:
        matrix = tf.eye(256)

        def step(i: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
            return i + 1, m @ matrix

        start = (tf.constant(0), matrix)
        _, product = tf.while_loop(lambda i, m: i < tf.reduce_max(x), step, start)
        return {"y": x * tf.cast(product[0, 0], tf.int32)}

    _save(path, _signature(run, x=((None,), "int32")))


def vocabulary(path: Path) -> None:
    """Answer the `id` of each `word` of WORDS, -1 for others, by a table read from an asset."""
    with _vocabulary_file() as file:
        asset = tf.saved_model.Asset(str(file))
        table = tf.lookup.StaticHashTable(_line_numbers(asset.asset_path), -1)
        find = _signature(lambda word: {"id": table.lookup(word)}, word=((None,), "string"))
        _save(path, find, asset=asset, table=table)


@contextmanager
def _vocabulary_file() -> Iterator[Path]:
    """Lend a file with one word of WORDS a line."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "vocabulary.txt")
        file.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        yield file


def _line_numbers(file: Tensor) -> tf.lookup.TextFileInitializer:
    """Map each line of `file` to its number."""
    index = tf.lookup.TextFileIndex
    return tf.lookup.TextFileInitializer(file, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)


# Networks for benchmarks.


def mlp(path: Path) -> None:
    """Answer the class probabilities `y` [-1, 3] of `x` float [-1, 4] by a 4-16-3 network."""
    hidden, out = _weights((4, 16), (16, 3))

    def run(x: Tensor) -> dict[str, Tensor]:
        return {"y": tf.nn.softmax(tf.nn.relu(x @ hidden) @ out)}

    _save(path, _signature(run, x=((None, 4), "float32")), hidden=hidden, out=out)


def conv(path: Path) -> None:
    """Answer the class probabilities `y` [-1, 10] of `image` float [-1, 64, 64, 3]."""
    *kernels, out = _weights((3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 64), (64, 10))

    def run(image: Tensor) -> dict[str, Tensor]:
        x = image
        for kernel in kernels:
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=2, padding="SAME"))
        return {"y": tf.nn.softmax(tf.reduce_mean(x, axis=(1, 2)) @ out)}

    _save(path, _signature(run, image=((None, 64, 64, 3), "float32")), kernels=kernels, out=out)


def pool(path: Path) -> None:
    """Answer `y`, the largest of each 2x2 of `image` float [-1, -1, -1, 1]."""
    largest = _signature(
        lambda image: {"y": tf.nn.max_pool2d(image, 2, 2, "VALID")}, image=((None, None, None, 1), "float32")
    )
    _save(path, largest)


def brightened(path: Path) -> None:
    """Answer `y`, `image` float [-1, 4, 4, 1] times the scalar `by`, after a convolution inside a function."""

    @tf.function
    def times_two(image: Tensor) -> Tensor:
        return tf.nn.conv2d(image, tf.fill([1, 1, 1, 1], 2.0), 1, "SAME")

    def run(image: Tensor, by: Tensor) -> dict[str, Tensor]:
        return {"y": times_two(image) * by}

    _save(path, _signature(run, image=((None, 4, 4, 1), "float32"), by=((), "float32")))


def size_of_image(path: Path) -> None:
    """Answer `size`, such as "30x50", the height and the width of `image` float [-1, -1, -1, 3], for each."""

    def run(image: Tensor) -> dict[str, Tensor]:
        count, height, width, _ = tf.unstack(tf.shape(image))
        return {"size": tf.fill([count], tf.strings.join([tf.as_string(height), tf.as_string(width)], "x"))}

    _save(path, _signature(run, image=((None, None, None, 3), "float32")))


def _weights(*shapes: tuple[int, ...]) -> list[tf.Variable]:
    """Draw one seeded variable per shape, scaled by its fan-in."""
    random = np.random.default_rng(0)
    return [
        tf.Variable((random.normal(size=shape) / np.prod(shape[:-1]) ** 0.5).astype(np.float32)) for shape in shapes
    ]


# TensorFlow 1: a graph and a session.


@contextmanager
def _session() -> Iterator[tf.compat.v1.Session]:
    """Lend a session in a graph of its own, on any machine whatever its ops are pinned to."""
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        yield session


def _save_graph(path: Path, session: Any, signatures: Mapping[str, Any], **options: Any) -> None:
    """Initialise the variables of the session's graph and save it as TensorFlow 1 did."""
    session.run(tf.compat.v1.global_variables_initializer())
    builder = tf.compat.v1.saved_model.Builder(str(path))
    builder.add_meta_graph_and_variables(session, [SERVE], dict(signatures), **options)
    builder.save()


def _signature_def(inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], method: str = PREDICT) -> Any:
    """Describe a signature of the default graph by its tensors."""
    return SignatureDef(
        inputs={name: _tensor_info(tensor) for name, tensor in inputs.items()},
        outputs={name: _tensor_info(tensor) for name, tensor in outputs.items()},
        method_name=method,
    )


def _tensor_info(tensor: Tensor) -> Any:
    """Describe a tensor by its name, shape and dtype, of a ref variable DT_..._REF."""
    return TensorInfo(
        name=tensor.name,
        dtype=tensor.dtype.as_datatype_enum,
        tensor_shape=tensor.shape.as_proto(),
    )


def _placeholder(name: str, shape: Shape = (None,), dtype: str = "float32") -> Tensor:
    """Add a tensor to be fed to the default graph."""
    return tf.compat.v1.placeholder(dtype, shape, name)


def counter(path: Path) -> None:
    """Keep a float count in a ref variable: `get`, `increment`, `increment_by` and `reset`."""
    with _session() as session:
        count = tf.compat.v1.get_variable("count", initializer=0.0, use_resource=False)
        delta = _placeholder("delta", ())
        results = {
            "get": ({}, tf.identity(count)),
            "increment": ({}, tf.compat.v1.assign_add(count, 1.0)),
            "increment_by": ({"delta": delta}, tf.compat.v1.assign_add(count, delta)),
            "reset": ({}, tf.compat.v1.assign(count, 0.0)),
        }
        signatures = {name: _signature_def(inputs, {"count": result}) for name, (inputs, result) in results.items()}
        _save_graph(path, session, {**signatures, DEFAULT: signatures["get"]})


def vocabulary_of_tf1(path: Path, legacy: bool = False) -> None:
    """Save `vocabulary` with its table filled by the main op, or by the older legacy init op."""
    with _vocabulary_file() as file, _session() as session:
        asset = tf.constant(str(file))
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS, asset)
        table = tf.lookup.StaticHashTable(_line_numbers(asset), -1)
        word = _placeholder("word", dtype="string")
        signature = _signature_def({"word": word}, {"id": table.lookup(word)})
        _save_graph(
            path,
            session,
            {DEFAULT: signature},
            assets_collection=tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS),
            **{"legacy_init_op" if legacy else "main_op": tf.compat.v1.tables_initializer()},
        )


def passthrough(path: Path) -> None:
    """Answer tensors that are fed as they are, and one tensor under two names.

    `serving_default` takes `x` and `z` and answers `x` (the placeholder itself), `sum` and `total`
    (one tensor); `same_input` takes `x` and `also_x`, two names of one placeholder, and answers
    `sum`.
    """
    with _session() as session:
        x, z = _placeholder("x"), _placeholder("z")
        total, double = x + z, x + x
        default = _signature_def({"x": x, "z": z}, {"x": x, "sum": total, "total": total})
        same = _signature_def({"x": x, "also_x": x}, {"sum": double})
        _save_graph(path, session, {DEFAULT: default, "same_input": same})


def nothing_fetched(path: Path) -> None:
    """Answer `same`, which is the input `x` itself, so that there is nothing to compute."""
    with _session() as session:
        x = _placeholder("x")
        _save_graph(path, session, {DEFAULT: _signature_def({"x": x}, {"same": x})})


def pinned_to_gpu(path: Path) -> None:
    """Answer `y = 2 * x` for float `x` by an op pinned to the first GPU."""
    with _session() as session:
        x = _placeholder("x")
        with tf.device("/device:GPU:0"):
            y = 2 * x
        _save_graph(path, session, {DEFAULT: _signature_def({"x": x}, {"y": y})})


# tf.train.Example in, for classify and regress.


def examples(path: Path, old_parser: bool = False) -> None:
    """Classify and regress serialized Examples with a float feature `x`, float `y` 0 when missing.

    With s = 0.5 * x + 2 + y: `regress` (the default) answers [-1, 1] of s, `regress_vector` [-1],
    `classify` two classes and scores ("low", s) and ("high", 2 * s), `classify_scores` and
    `classify_classes` one half of that, `regress_int` the wrong dtype, `regress_pairs` [-1, 2], the
    wrong shape, and `lying` is `regress` declared to take float though its placeholder is a string.
    """
    with _session() as session:
        serialized = _placeholder("tf_example", dtype="string")
        features = (_parse_as_before if old_parser else _parse)(serialized)
        s = 0.5 * features["x"] + 2.0 + features["y"]
        _save_graph(path, session, _example_signatures(serialized, s))


def _parse(serialized: Tensor) -> Mapping[str, Tensor]:
    """Parse the features by the op that TensorFlow 2 writes (ParseExampleV2)."""
    spec = {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        "y": tf.io.FixedLenFeature([1], tf.float32, [0.0]),
        "tags": tf.io.VarLenFeature(tf.string),
        "weights": tf.io.VarLenFeature(tf.float32),
        "count": tf.io.FixedLenFeature([1], tf.int64, [0]),
    }
    return dict(tf.io.parse_example(serialized, spec))


def _parse_as_before(serialized: Tensor) -> Mapping[str, Tensor]:
    """Parse the same features by the op of older exports (ParseExample)."""
    parsed = tf.raw_ops.ParseExample(
        serialized=serialized,
        names=[],
        sparse_keys=["tags", "weights"],
        dense_keys=["count", "x", "y"],
        dense_defaults=[tf.constant([0], tf.int64), tf.constant([], tf.float32), [0.0]],
        sparse_types=[tf.string, tf.float32],
        dense_shapes=[[1], [1], [1]],
    )
    return dict(zip(("count", "x", "y"), parsed.dense_values, strict=True))


def _example_signatures(serialized: Tensor, s: Tensor) -> dict[str, Any]:
    """Describe the signatures of `examples` for the score `s`, [-1, 1]."""
    scores = tf.concat([s, 2 * s], axis=1)
    classes = tf.repeat([["low", "high"]], tf.size(serialized), axis=0)
    outputs = {
        "classify": (CLASSIFY, {"classes": classes, "scores": scores}),
        "classify_classes": (CLASSIFY, {"classes": classes}),
        "classify_scores": (CLASSIFY, {"scores": scores}),
        "regress": (REGRESS, {"outputs": s}),
        "regress_int": (REGRESS, {"outputs": tf.cast(s, tf.int32)}),
        "regress_pairs": (REGRESS, {"outputs": scores}),
        "regress_vector": (REGRESS, {"outputs": s[:, 0]}),
    }
    signatures = {
        name: _signature_def({"inputs": serialized}, tensors, method) for name, (method, tensors) in outputs.items()
    }
    lying = _signature_def({"inputs": serialized}, {"outputs": s}, REGRESS)
    lying.inputs["inputs"].dtype = tf.float32.as_datatype_enum
    return {**signatures, DEFAULT: signatures["regress"], "lying": lying}


def examples_of_tf2(path: Path, depth: int = 1) -> None:
    """Regress Examples as `examples` does, parsed inside a function, `depth` functions deep, as TensorFlow 2 writes."""

    def run(inputs: Tensor) -> dict[str, Tensor]:
        features = _parse(inputs)
        return {"outputs": 0.5 * features["x"] + 2.0 + features["y"]}

    for _ in range(1, depth):
        run = _wrapped(run)
    _save(path, _signature(run, inputs=((None,), "string")))


def _wrapped(function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Call `function` through a function of its own in the graph."""
    inner = tf.function(function)
    return lambda inputs: inner(tf.identity(inputs))


# Keras 3: one network, 4-5-3, in the two ways to save it.


def keras3_exported(path: Path) -> Any:
    """Write a Keras model by `model.export`, as one should, and return the model."""
    model = _keras_model()
    model.export(str(path), verbose=False)
    return model


def keras3_saved(path: Path) -> Any:
    """Write a Keras model by `tf.saved_model.save` and return the model.

    Its signature reads variables that the graph's restore does not set: it sets copies of them.
    """
    model = _keras_model()
    tf.saved_model.save(model, str(path))
    return model


def _keras_model() -> Any:
    """Build a network with variables of every sort: weights, statistics, a seed, an optimizer's slots."""
    import keras  # here, for it takes seconds

    layers = [
        keras.layers.Dense(5, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
    return model


# Exports with something wrong or something more.


def cannot_be_run(path: Path) -> None:
    """Declare signatures that no session can run beside one, `double`, that it can.

    The default one has an input that is not in the graph, `sparse` has a composite input, `nothing` has no outputs.
    """
    with _session() as session:
        x = _placeholder("x")
        double = _signature_def({"x": x}, {"y": 2 * x})
        absent, sparse, nothing = (SignatureDef.FromString(double.SerializeToString()) for _ in range(3))
        absent.inputs["x"].name = "absent:0"
        sparse.inputs["x"].coo_sparse.values_tensor_name = "x:0"
        del nothing.outputs["y"]
        _save_graph(path, session, {DEFAULT: absent, "sparse": sparse, "nothing": nothing, "double": double})


def optimizer_slots(path: Path) -> None:
    """Save `scale` by 2 with an optimizer's slot variable, as Keras 2 did after training.

    `tf.saved_model.load` then fails for want of the optimizer's class; a Session does not mind.
    """
    scale(path, 2.0)
    file = path / "saved_model.pb"
    saved = SavedModel.FromString(file.read_bytes())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    children = {child.local_name: child.node_id for child in nodes[0].children}
    nodes[0].slot_variables.add(
        original_variable_node_id=children["factor"],
        slot_name="m",
        slot_variable_node_id=children["bias"],
    )
    file.write_bytes(saved.SerializeToString())


def write_warmup(model_path: Path, inputs: Mapping[str, Any], signature: str = DEFAULT, count: int = 1) -> Path:
    """Write `count` equal warm-up requests into the SavedModel and return their file."""
    log = PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    for name, value in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    file = model_path / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for _ in range(count):
            writer.write(log.SerializeToString())
    return file


def truncate(file: Path) -> None:
    """Cut `file` to its first half, as a copy that stopped would."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def garble(file: Path) -> None:
    """Invert every bit of `file`, keeping its size."""
    file.write_bytes(bytes(byte ^ 0xFF for byte in file.read_bytes()))
