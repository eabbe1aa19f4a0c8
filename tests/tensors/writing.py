"""What writing costs, and skimming: prints how much a process has grown, and how much was told.

    python -m tests.tensors.writing ELEMENTS    ->    NAME <tab> GROWN <tab> TOLD

A process of its own, as for `tests.tensors.reading`; each case in a child of it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import orjson

from serving.inputs.table import csv_bytes, encode_csv
from serving.tensors.cost import answer_bytes, numbers_bytes
from serving.tensors.encode import encode_columns, encode_flat, encode_rows
from serving.tensors.skim import skim
from serving.tensors.spec import DTYPES, Array, strings
from tests.server import memory

Case = tuple[Callable[[], object], int]
"""What is measured, and what was told of it."""


def outputs(size: int) -> dict[str, dict[str, Array]]:
    """Tensors that take much to write, by what is much about them; each is made only by who writes it."""
    longest, odd = np.full(size, -1.1754944e-38, np.float32), np.full(size, np.inf, np.float32)
    odd[::2] = -np.inf
    text = [b"ab"] * size
    return {
        "float32": {"y": longest},
        "float64": {"y": np.full(size, -2.2250738585072014e-308)},
        "float16": {"y": np.full(size, -6.1e-05, np.float16)},
        "int64": {"y": np.full(size, -(2**63), np.int64)},
        "bool": {"y": np.zeros(size, np.bool_)},
        "rows of one": {"y": longest.reshape(-1, 1)},
        "lists of lists": {"y": longest.reshape(-1, 1, 1, 1, 1)},
        "NaN": {"y": np.full(size, np.nan, np.float32)},
        "infinities": {"y": odd},
        "two outputs": {"y": longest, "z": longest},
        "two outputs with infinities": {"y": odd.reshape(-1, 1), "z": odd},
        "strings": {"y": strings(text)},
        "strings in rows": {"y": strings(text).reshape(-1, 1)},
        "strings and numbers": {"y": strings(text), "z": longest},
        "one string to escape": {"y": strings([b"\x01" * size])},
        "one wide string": {"y": strings(["\U0001f600".encode() * size])},
        "no string at all": {"y": strings([b"\xff" * size])},
        "bytes": {"y_bytes": strings(text)},
        "long bytes": {"y_bytes": strings([b"\xff" * 100] * (size // 100))},
    }


def flat(tensors: Mapping[str, Array]) -> bytes:
    """As the other protocol writes numbers."""
    data = [encode_flat(name, array, "literal") for name, array in tensors.items()]
    return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


def cases(size: int) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for name, tensors in outputs(size).items():
        told = answer_bytes(tensors)
        found[f"{name}, rows"] = (lambda tensors=tensors: encode_rows(tensors, "literal")), told
        found[f"{name}, columns"] = (lambda tensors=tensors: encode_columns(tensors, "literal")), told
        if all(array.ndim <= 2 for array in tensors.values()) and name != "no string at all":
            found[f"{name}, table"] = (lambda tensors=tensors: encode_csv(tensors, "literal")), csv_bytes(tensors)
        if all(array.dtype != object for array in tensors.values()):
            found[f"{name}, flat"] = (lambda tensors=tensors: flat(tensors)), told
    for value in ("1", "[1]", "[[1]]", "0.12345678"):
        text = memoryview(("[" + ",".join([value] * size) + "]").encode())
        for proto in ("DT_INT8", "DT_FLOAT", "DT_DOUBLE"):
            if "." not in value or proto != "DT_INT8":
                read = lambda text=text, proto=proto: skim(text, DTYPES[proto])  # noqa: E731
                found[f"{value} as {proto}"] = read, numbers_bytes(text)
    return found


def grown(work: Callable[[], object]) -> int:
    """How many bytes this process grows at most meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")
    before = memory(os.getpid(), "VmRSS")
    assert work() is not None
    return memory(os.getpid(), "VmHWM") - before


def main(size: int) -> None:
    for name, (work, told) in cases(size).items():
        if os.fork() == 0:
            print(name, grown(work), told, sep="\t", flush=True)
            os._exit(0)
        os.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
