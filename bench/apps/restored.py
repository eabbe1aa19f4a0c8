"""What the peers run: SavedModels as functions from arrays to an array, restored as TensorFlow's guide says.

One TensorFlow thread to a process, since each peer has as many processes as there are cores.
"""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

PROCESSES = len(os.sched_getaffinity(0))

tf.config.threading.set_intra_op_parallelism_threads(int(os.environ.get("BENCH_TF_THREADS", "1")))
tf.config.threading.set_inter_op_parallelism_threads(2)


class Model:
    """A restored SavedModel; `specs` are the inputs of its default signature by name."""

    def __init__(self, path):
        self._restored = tf.saved_model.load(str(path))
        self._signature = self._restored.signatures["serving_default"]
        self.specs = self._signature.structured_input_signature[1]
        self.outputs = self._signature.structured_outputs

    def __call__(self, **inputs):
        """The array that the model answers for arrays by name."""
        tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in self.specs.items()}
        return next(iter(self._signature(**tensors).values())).numpy()

    def predict(self, instances):
        """The array that the model answers for rows: values of its one input, or objects."""
        if len(self.specs) == 1:
            return self(**{name: self._array(instances, name) for name in self.specs})
        return self(**{name: self._array([row[name] for row in instances], name) for name in self.specs})

    def _array(self, values, name):
        return np.asarray(values, self.specs[name].dtype.as_numpy_dtype)


def load():
    """All models of the directory in BENCH_MODELS, by name."""
    return {path.name: Model(path / "1") for path in Path(os.environ["BENCH_MODELS"]).iterdir()}


def texts(answer):
    """An answer as lists, its strings as text."""
    items = answer.tolist()
    return [item.decode() if isinstance(item, bytes) else item for item in items]
