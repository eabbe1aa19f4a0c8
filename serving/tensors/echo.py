"""JSON values as error texts show them: upstream's layout, cut short."""

import json
from collections.abc import Iterator
from typing import Any

LIMIT = 256
"""Bytes of a value or a name that an error text repeats at most, as upstream."""

_TYPE_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


def type_name(value: Any) -> str:
    """The type of a JSON value in upstream's words: Null False True Object Array String Number."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]


def echo(value: Any) -> str:
    """A JSON value as text of at most LIMIT bytes; objects one member a line, arrays in one line."""
    text = ""
    for piece in _pieces(value, 0):
        text += piece
        if len(text) >= LIMIT:
            break
    return cut(text)


def cut(text: str, limit: int = LIMIT) -> str:
    """The first `limit` bytes of a text in UTF-8, without a broken character at the end."""
    return text[:limit].encode()[:limit].decode(errors="ignore")


def _pieces(value: Any, level: int) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _members(value, level)
    elif isinstance(value, list):
        yield "["
        for index, element in enumerate(value):
            yield ", " if index else ""
            yield from _pieces(element, level + 1)
        yield "]"
    else:
        yield json.dumps(value[:LIMIT] if isinstance(value, str) else value, ensure_ascii=False)


def _members(value: dict[str, Any], level: int) -> Iterator[str]:
    yield "{"
    for index, (key, member) in enumerate(value.items()):
        yield (",\n" if index else "\n") + "    " * (level + 1) + json.dumps(key[:LIMIT], ensure_ascii=False) + ": "
        yield from _pieces(member, level + 1)
    yield "\n" + "    " * level + "}" if value else "}"
