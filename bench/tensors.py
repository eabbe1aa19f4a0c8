"""What reading and writing tensors costs by itself, without HTTP and without a model.

    python -m bench.tensors

Prints the fastest and the median of many calls, in microseconds: from the bytes of a predict request to its tensors,
and from tensors to the bytes of an answer. FastAPI's way of reading, orjson and an array for each input, stands beside.
"""

import base64
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import orjson

from bench.dialects import rows
from bench.models import CONV, STRINGS, TABLE, TINY, Array, Inputs
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest.predict import read_predict
from serving.tensors.encode import encode_rows
from serving.tensors.spec import TensorSpec

SECONDS = 1.0
"""How long each is measured."""

_PROTOS = {"float32": "DT_FLOAT", "int64": "DT_INT64", "object": "DT_STRING"}
_READ = ((TINY, 1), (TABLE, 1), (TABLE, 1000), (CONV, 1), (CONV, 32), (TINY, 256), (STRINGS, 1), (STRINGS, 256))
_BASE64 = ((32, 10_000), (256, 100))
"""How many values, and of how many bytes."""


def main() -> None:
    """Measure, and print a table."""
    print(f"{'':40}{'fastest':>10}{'median':>10}{'FastAPI':>10}{'median':>10}")
    for title, ours, theirs in (*_reading(), *_writing()):
        print(f"{title:40}" + "".join(f"{us:10.1f}" for us in (*_measure(ours), *_measure(theirs))), flush=True)


def _reading() -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    for model, count in _READ:
        inputs = model.inputs(count, 0)
        body = rows("").encode(model.name, inputs).body
        signatures = {DEFAULT_SIGNATURE: _signature(inputs)}
        title = f"read {model.name} x {count}, {len(body):,} bytes"
        yield title, partial(read_predict, signatures, body), partial(_arrays, body, inputs)
    yield from _reading_base64()


def _reading_base64() -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    random = np.random.default_rng(0)
    signatures = {DEFAULT_SIGNATURE: Signature("", {"image": TensorSpec("image", "DT_STRING", (None,))}, {}, "")}
    for count, size in _BASE64:
        bare = [{"b64": base64.b64encode(random.bytes(size)).decode()} for _ in range(count)]
        for names, instances in (((), bare), (("image",), [{"image": value} for value in bare])):
            body = orjson.dumps({"instances": instances})
            title = f"read {'named' if names else 'bare'} base64 x {count}, {len(body):,} bytes"
            yield title, partial(read_predict, signatures, body), partial(_decoded, body, *names)


def _writing() -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    random = np.random.default_rng(0)
    texts = np.array([text.encode() for text in STRINGS.inputs(256, 0)["text"]], object)
    for title, array in (
        ("1 x 3", random.random((1, 3), np.float32)),
        ("1000 x 10", random.random((1000, 10), np.float32)),
        ("32 x 64 x 64 x 3", random.random((32, 64, 64, 3), np.float32)),
        ("256 strings", texts),
    ):
        yield f"write {title}", partial(encode_rows, {"y": array}, "literal"), partial(_dumps, array)


def _signature(inputs: Inputs) -> Signature:
    specs = {
        name: TensorSpec(name, _PROTOS[array.dtype.name], (None, *array.shape[1:]))
        for name, array in sorted(inputs.items())
    }
    return Signature(DEFAULT_SIGNATURE, specs, {}, "")


def _arrays(body: bytes, inputs: Inputs) -> list[Array]:
    instances = orjson.loads(body)["instances"]
    if len(inputs) == 1:
        return [np.asarray(instances, array.dtype) for array in inputs.values()]
    return [np.asarray([row[name] for row in instances], array.dtype) for name, array in inputs.items()]


def _decoded(body: bytes, *names: str) -> Array:
    """The base64 of rows, below these names."""
    values = orjson.loads(body)["instances"]
    for name in (*names, "b64"):
        values = [value[name] for value in values]
    return np.array([base64.b64decode(text) for text in values], object)


def _dumps(array: Array) -> bytes:
    value = [text.decode() for text in array.tolist()] if array.dtype == object else array
    return orjson.dumps({"predictions": value}, option=orjson.OPT_SERIALIZE_NUMPY)


def _measure(call: Callable[[], Any]) -> tuple[float, float]:
    """The fastest and the median call in microseconds."""
    times = []
    call()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 5:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times) * 1e6, statistics.median(times) * 1e6


if __name__ == "__main__":
    main()
