"""What reading costs: prints for texts that take much how much a process has grown, and how much was told.

    python -m tests.tensors.reading BYTES    ->    NAME <tab> DTYPE SHAPE <tab> GROWN <tab> TOLD

A process of its own, since a peak of memory can only be seen where nothing else happens; each text in a child of it.
"""

import os
import sys
from pathlib import Path

from serving.errors import InvalidArgument
from serving.tensors.cost import objects_bytes
from serving.tensors.decode import decode_rows
from serving.tensors.outline import outline
from serving.tensors.parse import parse
from serving.tensors.reader import Reader
from serving.tensors.spec import TensorSpec
from tests.server import memory

SPECS: list[tuple[str, tuple[int | None, ...] | None]] = [
    ("DT_FLOAT", (None,)),
    ("DT_FLOAT", (None, None)),
    ("DT_STRING", (None,)),
    ("DT_STRING", (None, None)),
    ("DT_INT64", None),
]
VALUES = [
    "[]",
    "{}",
    '{"a":0}',
    '{"x":0}',
    "[1]",
    "[[]]",
    "1",
    "1.5",
    "300",
    "NaN",
    '""',
    '"ab"',
    '"é"',
    "null",
    "true",
]
VALUES += ['{"b64":""}', '{"a":[]}', '{"a":"","b":[{}]}', '"\\u00e9"', '[{"x":[0.5]}]']


def rows(value: str, size: int) -> str:
    return '{"instances": [' + (value + ",") * (size // (len(value) + 1)) + value + "]}"


def texts(size: int) -> dict[str, str]:
    return {value: rows(value, size) for value in VALUES} | {
        "elsewhere": '{"instances": [1.0], "x": ' + rows("[]", size) + "}",
        "one wide string": '{"instances": ["' + "\U0001f600" + "a" * size + '"]}',
        "many keys": '{"instances": [{' + ",".join(f'"{key}":1' for key in range(size // 10)) + "}]}",
    }


def read(body: bytes, spec: TensorSpec) -> object:
    specs = {"x": spec}
    found = outline(body)
    tensors = Reader(specs).read(found) if found else None
    try:
        return tensors or decode_rows(parse(body)["instances"], specs)
    except InvalidArgument as error:
        return error


def grown(body: bytes, spec: TensorSpec) -> int:
    """How many bytes this process grows at most while it reads."""
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is counted anew
    before = memory(os.getpid(), "VmRSS")
    read(body, spec)
    return memory(os.getpid(), "VmHWM") - before


def main(size: int) -> None:
    for name, text in texts(size).items():
        body = text.encode()
        for proto, shape in SPECS:
            if os.fork() == 0:
                spec = TensorSpec("x", proto, shape)
                print(
                    name, f"{proto} {shape}", grown(body, spec), objects_bytes(memoryview(body)), sep="\t", flush=True
                )
                os._exit(0)
            os.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
