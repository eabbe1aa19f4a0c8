"""The body of an inference request: its JSON, and the bytes of tensors behind it.

The header Inference-Header-Content-Length says how long the JSON is, after decompression; without it all is JSON, and
0 is a body that is nothing but the bytes of the only input.
"""

import re

from serving.errors import InvalidArgument

HEADER = "Inference-Header-Content-Length"
_NUMBER = re.compile(r"[0-9]{1,18}")


def split(body: memoryview, json_bytes: str | None) -> tuple[memoryview, memoryview]:
    """The JSON of a body and what follows it, given the value of the header."""
    if json_bytes is None:
        return body, body[len(body) :]
    text = json_bytes.strip()
    if not _NUMBER.fullmatch(text):
        raise InvalidArgument(f"{HEADER} is {json_bytes[:64]!r}, the number of bytes of the JSON is expected")
    length = int(text)
    if length > len(body):
        raise InvalidArgument(f"{HEADER} is {length}, but the body has {len(body)} bytes")
    return body[:length], body[length:]
