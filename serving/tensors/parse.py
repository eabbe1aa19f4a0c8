"""JSON text to Python values, as TensorFlow Serving's parser reads it.

`NaN`, `Infinity` and `-Infinity` are numbers; an integer that needs more than 64 bits is a double; a number beyond the
range of a double, text after the document, an unpaired surrogate and bytes that are not UTF-8 are errors, and so is
what is nested too deep (`limit_depth`). Of a repeated key the last counts. The error texts are those of upstream
(rapidjson), with the offset in bytes.
"""

import json
import re
from typing import Any

import orjson

from serving.errors import InvalidArgument

MAX_DEPTH = 100
"""How deep a document may be nested unless it is said: a tensor of the highest rank, 64, and what surrounds it."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_UPSTREAM_TEXTS = {
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting value": "Invalid value.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid escape character in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}


class _Limit:
    depth = MAX_DEPTH


def limit_depth(levels: int) -> None:
    """Refuse what is nested deeper, in the whole process."""
    _Limit.depth = levels


def parse(body: bytes | memoryview) -> Any:
    """The value of a JSON document; InvalidArgument says what is wrong with it and where."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_slowly(bytes(body).removeprefix(_BYTE_ORDER_MARK))
    if len(body) > 2 * _Limit.depth and _may_be_deep(bytes(body)):
        _check_depth(value)
    return value


def _may_be_deep(body: bytes) -> bool:
    return body.count(b"[") + body.count(b"{") > _Limit.depth


def _check_depth(value: Any) -> None:
    """Go down level by level, not container by container: that takes no stack."""
    level: list[Any] = [[value]]
    for _ in range(_Limit.depth + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is list or type(inner) is dict
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InvalidArgument:
    return InvalidArgument(
        f"JSON Parse error: Nested deeper than {_Limit.depth} levels, the limit of SERVING_MAX_JSON_DEPTH."
    )


def _parse_slowly(body: bytes) -> Any:
    """Read what the fast parser refuses: the non-finite numbers, and errors, which get upstream's words here."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start) from None
    if not text.strip():
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        value = json.loads(text, parse_float=_decimal, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise _parse_error(_upstream_text(error), len(text[: error.pos].encode())) from None
    except RecursionError:
        raise _too_deep() from None
    return _without_lone_surrogates(value, text)


def _decimal(token: str) -> float:
    value = float(token)
    if value in (float("inf"), float("-inf")):
        raise InvalidArgument("JSON Parse error: Number too big to be stored in double.")
    return value


def _integer(token: str) -> int | float:
    if len(token) < 19:
        return int(token)
    value = _decimal(token)
    return int(token) if -(2.0**63) <= value <= 2.0**64 and -(2**63) <= int(token) < 2**64 else value


def _without_lone_surrogates(value: Any, text: str) -> Any:
    """Refuse escapes such as \\ud800 that stand for no character and could not be written as UTF-8."""
    if "\\u" in text:
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError as error:
            if "surrogate" not in str(error):
                raise _too_deep() from None
            raise InvalidArgument("JSON Parse error: The surrogate pair in string is invalid.") from None
    return value


def _parse_error(what: str, offset: int) -> InvalidArgument:
    return InvalidArgument(f"JSON Parse error: {what} at offset: {offset}")


def _upstream_text(error: json.JSONDecodeError) -> str:
    following, preceding = error.doc[error.pos : error.pos + 1], error.doc[error.pos - 1 : error.pos]
    if preceding.isdigit() and following == ".":
        return "Miss fraction part in number."
    if preceding.isdigit() and following in ("e", "E"):
        return "Miss exponent in number."
    if error.msg == "Expecting ',' delimiter":
        end = "'}' after an object member." if _inside_object(error.doc[: error.pos]) else "']' after an array element."
        return "Missing a comma or " + end
    return next((ours for theirs, ours in _UPSTREAM_TEXTS.items() if error.msg.startswith(theirs)), error.msg)


def _inside_object(text: str) -> bool:
    """Whether the innermost container still open at the end of `text` is an object."""
    open_containers = [""]
    for token in _TOKEN.findall(text):
        if token in "[{":
            open_containers.append(token)
        elif token in "]}":
            open_containers.pop()
    return open_containers[-1] == "{"
