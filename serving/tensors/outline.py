"""What surrounds the tensors in the body of a predict request, found without parsing them.

    {"signature_name": "serving_default", "instances": [[1.0, 2.0], [3.0, 4.0]]}

Only the beginning and the end are looked at. Where what lies between is one JSON value, the body is a document that
says this and nothing else.
"""

import re
from typing import NamedTuple

_SPACE = rb"[ \t\r\n]*"
_SIGNATURE = rb'"signature_name"' + _SPACE + rb":" + _SPACE + rb'"([^"\\\x00-\x1f]*)"' + _SPACE
_HEAD = re.compile(
    _SPACE + rb"\{" + _SPACE + rb"(?:" + _SIGNATURE + rb"," + _SPACE + rb')?"(instances|inputs)"' + _SPACE + rb":"
)
_SIGNATURE_LAST = re.compile(rb"," + _SPACE + _SIGNATURE + rb"\Z")
_TAIL_BYTES = 300
"""How much of the end is looked at, for the signature's name; a longer one is found by parsing the body."""


class Outline(NamedTuple):
    """The name of the signature, "" for the default one; `instances` or `inputs`; and the JSON text below that key."""

    signature_name: str
    key: str
    text: memoryview


def outline(body: bytes | memoryview) -> Outline | None:
    """The outline of a body; None for one of another form, and for some that only parsing can tell."""
    head = _HEAD.match(body)
    if head is None:
        return None
    start, (name, key) = head.end(), head.groups()
    near = max(start, len(body) - _TAIL_BYTES)
    tail = bytes(body[near:]).rstrip(b" \t\r\n")
    if not tail.endswith(b"}"):
        return None
    tail = tail[:-1]
    named = tail.rfind(b'"signature_name"')
    if named != -1 and (signature := _SIGNATURE_LAST.match(tail, tail.rfind(b",", 0, named))):
        name, tail = signature[1], tail[: signature.start()]
    try:
        return Outline("" if name is None else name.decode(), key.decode(), memoryview(body)[start : near + len(tail)])
    except UnicodeDecodeError:
        return None
