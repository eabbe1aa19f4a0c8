"""Triton from the nvidia-pytriton wheel: dynamic batching without a delay, as many instances of each model as cores."""

import sys

import numpy as np
import restored
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MAX_BATCH = 1024


def tensor(name, spec):
    """A tensor as Triton wants it: without the rows, and a scalar as a list of one."""
    dtype = bytes if spec.dtype.as_numpy_dtype is object else spec.dtype.as_numpy_dtype
    shape = tuple(-1 if size is None else size for size in spec.shape[1:])
    return Tensor(name=name, dtype=dtype, shape=shape or (1,))


def instance(model):
    """A function for one instance of a model."""
    scalars = {name for name, spec in model.specs.items() if len(spec.shape) == 1}

    @batch
    def infer(**inputs):
        columns = {name: array[:, 0] if name in scalars else array for name, array in inputs.items()}
        answer = model(**{name: np.ascontiguousarray(column) for name, column in columns.items()})
        return {"y": answer[:, None] if answer.ndim == 1 else answer}

    return infer


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(sys.argv[1]),
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        for name, model in restored.load().items():
            triton.bind(
                model_name=name,
                infer_func=[instance(model) for _ in range(restored.PROCESSES)],
                inputs=[tensor(its, spec) for its, spec in model.specs.items()],
                outputs=[tensor("y", next(iter(model.outputs.values())))],
                config=ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            )
        triton.serve()
