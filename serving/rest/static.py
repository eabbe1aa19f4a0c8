"""Files of our own for browsers: read once, compressed once, with headers that let a page do only what it needs."""

import hashlib
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flask import request

from serving.errors import NotFound
from serving.rest.application import Answer
from serving.rest.trace import malformed

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""The files that are served; others of the same directory are not."""

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
"""What a page may load and do: nothing that is not ours, and nothing written inside the page."""


def policy(**changes: str) -> str:
    """The Content-Security-Policy, with changes such as `img_src="'self' data:"`."""
    directives = POLICY | {name.replace("_", "-"): value for name, value in changes.items()}
    return "; ".join(f"{name} {value}" for name, value in directives.items())


@dataclass(frozen=True)
class _File:
    body: bytes
    gzipped: bytes
    digest: str
    content_type: str


class StaticFiles:
    """The files of one directory. May be used by several threads at once."""

    def __init__(self, directory: Path, content_security_policy: str) -> None:
        self._paths = {path.name: path for path in directory.iterdir() if path.suffix in TYPES}
        self._policy = content_security_policy
        self._read = lru_cache(_read)

    def answer(self, name: str) -> Answer:
        """The file, or 304 where the browser has it; NotFound when there is none of that name."""
        if name not in self._paths:
            raise NotFound(malformed())
        file = self._read(self._paths[name])
        zipped = bool(request.accept_encodings["gzip"]) and len(file.gzipped) < len(file.body)
        tag = f"{file.digest}-gzip" if zipped else file.digest
        headers = {
            "Content-Type": file.content_type,
            "Cache-Control": "no-cache",
            "ETag": f'"{tag}"',
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": self._policy,
            "Referrer-Policy": "no-referrer",
            **({"Content-Encoding": "gzip"} if zipped else {}),
        }
        status = 304 if request.if_none_match.contains(tag) else 200
        return Answer(file.gzipped if zipped else file.body, status, headers)


def _read(path: Path) -> _File:
    body = path.read_bytes()
    stream = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    digest = hashlib.sha256(body).hexdigest()[:16]
    return _File(body, stream.compress(body) + stream.flush(), digest, TYPES[path.suffix])
