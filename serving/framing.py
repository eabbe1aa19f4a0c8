"""What the head of a request must be, beyond what the parser checks (RFC 9112).

Two servers that read one head differently can be played off against each other, so whatever is ambiguous is refused:
no guess is made about where a request ends or for whom it is.
"""

import re
from functools import lru_cache
from http import HTTPStatus

from serving.answers import Refused

Header = tuple[bytes, bytes]

_VERSIONS = ("1.1", "1.0")
_ONCE = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"inference-header-content-length"))
"""Headers that may be sent once, since two could be read as either."""
_NOTED = _ONCE | {b"content-encoding", b"content-type"}
_HOST = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]+)([/?].*)?")


def check_head(version: str, headers: list[Header]) -> dict[bytes, bytes]:
    """Those headers that say whom a request is for, and of its body what it is and how it is framed.

    Refused where that is not clear.
    """
    if version not in _VERSIONS:
        raise _bad(f"HTTP/{version} is not spoken here; send HTTP/1.1")
    found = [header for header in headers if header[0] in _NOTED]
    fields = dict(found)
    if len(fields) != len(found):
        _check_once([name for name, _ in found])
    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            raise _bad("The header Host is missing")
    elif not _is_host(host):
        raise _bad("The header Host is not a host and perhaps a port")
    if b"transfer-encoding" in fields and (version == "1.0" or fields[b"transfer-encoding"].lower() != b"chunked"):
        raise _bad("The header Transfer-Encoding may only be chunked, and needs HTTP/1.1")
    return fields


def origin_form(method: str, target: bytes) -> tuple[bytes, bytes | None]:
    """A target as a path and its query, and the host where it names one; `*` asks about the server as a whole."""
    if b"#" in target:
        raise _bad("The request's target has a fragment")
    if target.startswith(b"/") or (target == b"*" and method == "OPTIONS"):
        return target, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _is_host(match[1]):
        raise _bad("The request's target is neither a path nor the address of something on this server")
    path = match[2] or b"/"
    return path if path.startswith(b"/") else b"/" + path, match[1]


def _check_once(names: list[bytes]) -> None:
    twice = next((name for name in _ONCE if names.count(name) > 1), None)
    if twice is not None:
        raise _bad(f"The header {twice.decode().title()} was sent more than once")


@lru_cache(maxsize=256)
def _is_host(text: bytes) -> bool:
    return _HOST.fullmatch(text) is not None


def _bad(message: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, message)
