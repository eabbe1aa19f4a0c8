"""SavedModels whose outputs do not fit the request, or cannot be written as an answer."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

Outputs = Callable[[Any], Mapping[str, Any]]


def contrary_outputs(path: Path) -> None:
    """Answer, for float `x` [-1], what row format cannot show.

    `serving_default` gives `a`, x itself, and `b`, always one value; `scalar` the sum of x, `with_scalar` x and its
    sum, `complex` a complex number for each.
    """
    _save(
        path,
        "x",
        tf.float32,
        {
            "serving_default": lambda x: {"a": tf.identity(x), "b": tf.constant([1.0])},
            "scalar": lambda x: {"y": tf.reduce_sum(x)},
            "with_scalar": lambda x: {"a": tf.identity(x), "y": tf.reduce_sum(x)},
            "complex": lambda x: {"z": tf.complex(x, x)},
        },
    )


def contrary_examples(path: Path) -> None:
    """Answer, for serialized examples in `inputs` [-1], what classify and regress cannot show; each name says why."""
    one_row = tf.constant([[0.5, 0.5]])
    _save(
        path,
        "inputs",
        tf.string,
        {
            "regress_one_value": lambda examples: {"outputs": tf.constant([0.5])},
            "regress_scalar": lambda examples: {"outputs": tf.constant(0.5)},
            "regress_other_name": lambda examples: {"value": tf.constant([0.5])},
            "regress_two_outputs": lambda examples: {"outputs": tf.constant([0.5]), "more": tf.constant([0.5])},
            "classify_one_row": lambda examples: {"scores": one_row},
            "classify_vector": lambda examples: {"scores": one_row[0]},
            "classify_integers": lambda examples: {"scores": tf.constant([[1]])},
            "classify_numbered": lambda examples: {"classes": tf.constant([[1]])},
            "classify_more_scores": lambda examples: {"classes": tf.constant([["a"]]), "scores": one_row},
            "classify_three_outputs": lambda examples: {"classes": one_row, "scores": one_row, "more": one_row},
            "classify_no_classes": lambda examples: {"scores": tf.zeros([1, 0])},
        },
    )


def _save(path: Path, name: str, dtype: Any, functions: Mapping[str, Outputs]) -> None:
    spec = tf.TensorSpec([None], dtype, name)
    signatures = {
        signature: tf.function(function).get_concrete_function(spec) for signature, function in functions.items()
    }
    tf.saved_model.save(tf.Module(), str(path), signatures=signatures)
