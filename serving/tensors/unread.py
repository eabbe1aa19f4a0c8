"""Large lists in a JSON document, left as text until it is known what they are to be.

    {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}]}

Parsing makes an object of each number; skimming does not, but must know the dtype, which stands beside the list. So the
lists are cut out, and what surrounds them is parsed. Both being JSON, so is the whole, and it says the same. Where one
is not, or a list was none of the `data` of the inputs, the whole is parsed as it is.
"""

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from serving.errors import InvalidArgument
from serving.tensors.cost import MakeRoom, numbers_bytes, unbounded
from serving.tensors.parse import parse
from serving.tensors.skim import FROM_BYTES

_KEY = b'"data"'
_LIST = re.compile(_KEY + rb"[ \t\r\n]*:[ \t\r\n]*(?=\[)")
_MARK = os.urandom(16).hex()
"""What stands for a list meanwhile, which nobody can have sent."""


class Unread(NamedTuple):
    """The text of a list in a document, which may yet turn out to be none."""

    text: memoryview
    document: bytes
    make_room: MakeRoom

    def parse(self) -> Any:
        """The list; InvalidArgument says what is wrong with it and where in the document."""
        self.make_room(self.document)
        try:
            return parse(bytes(self.text))
        except InvalidArgument:
            return parse(self.document)


def parse_around(body: bytes, make_room: MakeRoom = unbounded) -> Any:
    """The value of a JSON document, in which the `data` of `inputs` is `Unread` where it is a large list."""
    spans = list(_spans(body)) if len(body) >= FROM_BYTES else []
    if not spans:
        make_room(body)
        return parse(body)
    around = _without(body, spans)
    make_room(around, numbers_bytes(memoryview(body)))
    unread = {f"{_MARK}{start}": Unread(memoryview(body)[start:end], body, make_room) for start, end in spans}
    try:
        document = parse(around)
    except InvalidArgument:
        make_room(body)
        return parse(body)
    inputs = document.get("inputs") if type(document) is dict else None
    put = 0
    for one in inputs if type(inputs) is list else ():
        if type(one) is dict and type(one.get("data")) is str and one["data"] in unread:
            one["data"] = unread[one["data"]]
            put += 1
    if put == len(spans):
        return document
    make_room(body)
    return parse(body)


def _spans(body: bytes) -> Iterator[tuple[int, int]]:
    """Where large lists begin and end that hold neither strings nor objects."""
    at = body.find(_KEY)
    while at != -1:
        match = _LIST.match(body, at)
        end = at + len(_KEY)
        if match is not None:
            start, quote = match.end(), body.find(b'"', match.end())
            brace = body.find(b"}", start, None if quote == -1 else quote)
            stop = brace if brace != -1 else quote if quote != -1 else len(body)
            end = max(end, body.rfind(b"]", start, stop) + 1)
            if end - start >= FROM_BYTES:
                yield start, end
        at = body.find(_KEY, end)


def _without(body: bytes, spans: list[tuple[int, int]]) -> bytes:
    pieces, position = list[bytes](), 0
    for start, end in spans:
        pieces += body[position:start], f'"{_MARK}{start}"'.encode()
        position = end
    return b"".join([*pieces, body[position:]])
