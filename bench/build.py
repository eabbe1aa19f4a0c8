"""Write the models of bench/models.py with TensorFlow: `python -m bench.build NAME ...`."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from bench.models import TABLE_FLOATS, TABLE_INTEGERS, TABLE_STRINGS
from bench.places import MODELS
from tests import saved_models

Tensor: TypeAlias = Any


def _save(path: Path, run: Callable[..., Tensor], inputs: dict[str, Any], **held: Any) -> None:
    module = tf.Module()
    for name, value in held.items():
        setattr(module, name, value)
    signature = tf.function(lambda **tensors: {"y": run(**tensors)}).get_concrete_function(**inputs)
    tf.saved_model.save(module, str(path), signatures=signature)


def _input(name: str, dtype: Any, *shape: int | None) -> Any:
    return tf.TensorSpec((None, *shape), dtype, name)


def conv(path: Path) -> None:
    """Ten class probabilities of an image by the network of many a tutorial: convolutions to 32, 64 and 64, pooled."""
    random = tf.random.Generator.from_seed(0)
    shapes = ((3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 64), (8 * 8 * 64, 64), (64, 10))
    weights = [tf.Variable(random.normal(shape) * (2 / np.prod(shape[:-1])) ** 0.5) for shape in shapes]
    *kernels, hidden, out = weights

    def run(image: Tensor) -> Tensor:
        x = image
        for kernel in kernels:
            x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), 2, 2, "VALID")
        x = tf.nn.relu(tf.reshape(x, [-1, 8 * 8 * 64]) @ hidden)
        return tf.nn.softmax(x @ out)

    _save(path, run, {"image": _input("image", tf.float32, 64, 64, 3)}, weights=weights)


def table(path: Path) -> None:
    """A score for each row of named scalars: numbers scaled, strings embedded by their hash, then two layers."""
    numbers = (*TABLE_FLOATS, *TABLE_INTEGERS)
    random = tf.random.Generator.from_seed(0)
    embedding = tf.Variable(random.normal((64, 4)))
    hidden = tf.Variable(random.normal((len(numbers) + 4 * len(TABLE_STRINGS), 32)) / 8)
    out = tf.Variable(random.normal((32, 1)) / 8)

    def run(**columns: Tensor) -> Tensor:
        scaled = tf.stack([tf.cast(columns[name], tf.float32) / 500 for name in numbers], axis=1)
        codes = [tf.strings.to_hash_bucket_fast(columns[name], 64) for name in TABLE_STRINGS]
        features = tf.concat([scaled, *[tf.gather(embedding, code) for code in codes]], axis=1)
        return tf.sigmoid(tf.nn.relu(features @ hidden) @ out)[:, 0]

    dtypes = {TABLE_FLOATS: tf.float32, TABLE_INTEGERS: tf.int64, TABLE_STRINGS: tf.string}
    inputs = {name: _input(name, dtype) for names, dtype in dtypes.items() for name in names}
    _save(path, run, inputs, embedding=embedding, hidden=hidden, out=out)


def strings(path: Path) -> None:
    """Each text in lower case, its vowels as stars."""

    def run(text: Tensor) -> Tensor:
        return tf.strings.regex_replace(tf.strings.lower(text, "utf-8"), "[aeiou]", "*")

    _save(path, run, {"text": _input("text", tf.string)})


def large(path: Path) -> None:
    """ResNet-50 with random weights, answering logits of 1,000 classes."""
    tf.keras.utils.set_random_seed(0)
    network = tf.keras.applications.ResNet50(weights=None, classifier_activation=None)
    inputs = {"image": _input("image", tf.float32, 224, 224, 3)}
    weights = [variable.value for variable in network.variables]  # a tf.Module does not find them in Keras layers
    _save(path, lambda image: network(image, training=False), inputs, weights=weights)


def wide(path: Path) -> None:
    """The mean of each row."""
    _save(path, lambda x: tf.reduce_mean(x, axis=1), {"x": _input("x", tf.float32, None)})


BUILDERS: dict[str, Callable[[Path], None]] = {
    "tiny": saved_models.mlp,
    "conv": conv,
    "table": table,
    "strings": strings,
    "large": large,
    "wide": wide,
}


def build(name: str) -> None:
    """Write a model, in place only when it is whole."""
    unfinished = MODELS / ".unfinished" / name
    shutil.rmtree(unfinished, ignore_errors=True)
    BUILDERS[name](unfinished / "1")
    shutil.rmtree(MODELS / name, ignore_errors=True)
    unfinished.rename(MODELS / name)


if __name__ == "__main__":
    for model in sys.argv[1:]:
        build(model)
