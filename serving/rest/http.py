"""What holds for every request and answer: ids, errors as JSON, CORS, compression, metrics and the access log."""

import logging
import os
import re
import time
import zlib
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

import orjson
from flask import request
from werkzeug.exceptions import HTTPException

from serving import metrics
from serving.errors import MethodNotAllowed, NotFound, ServingError, Unavailable
from serving.logs import Access, AccessLog
from serving.rest.application import Answer, Application, Environ, json_answer
from serving.settings import Settings

log = logging.getLogger(__name__)

MAX_ERROR_BYTES = 4096
"""What the body of an error is cut to, so that no answer repeats a large request."""
COMPRESS_FROM_BYTES = 4096
"""Smaller answers fit a few packets, so compressing them costs more time than it saves."""

_MALFORMED = "Malformed request: "
_SANE_ID = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)
_TRACE = "serving.trace"
_EXPOSED = "X-Model-Version, X-Request-Id"
_ORIGIN = re.compile(r"https?://")
_UPSTREAM_PATH = re.compile(r"(?i)/v1/")


@dataclass(slots=True)
class Trace:
    """What is noted about a request while it is answered."""

    started: float
    request_id: str
    model: str = ""
    version: str = ""
    method: str = ""


def trace() -> Trace:
    """The notes of the request in hand."""
    return cast(Trace, request.environ[_TRACE])


def raw_path(environ: Environ | None = None) -> str:
    """The path as it was sent, percent signs and all, without the query string."""
    environ = request.environ if environ is None else environ
    target: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or quote(request.path, safe="/:")
    path = target.partition("?")[0]
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2]


def malformed() -> str:
    """Upstream's text for a path or a method that means nothing."""
    return f"{_MALFORMED}{request.method} {raw_path()}"


def attach(app: Application, settings: Settings, access_log: AccessLog | None) -> None:
    """Give the app what every request gets."""

    @app.before_request
    def note_start() -> Answer | None:
        environ = request.environ
        environ[_TRACE] = Trace(time.perf_counter(), _request_id(environ.get("HTTP_X_REQUEST_ID", "")))
        return _preflight() if environ["REQUEST_METHOD"] == "OPTIONS" else None

    @app.errorhandler(Exception)
    def answer_error(error: Exception) -> Answer:
        if isinstance(error, HTTPException) and error.code not in (None, 404, 405):
            return json_answer(_error_body(error.description or error.name), error.code)
        return _error_answer(_as_serving_error(error), settings.upstream_status)

    @app.after_request
    def finish(answer: Answer) -> Answer:
        environ = request.environ
        notes: Trace = environ[_TRACE]
        answer.headers["X-Request-Id"] = notes.request_id
        if settings.cors_origins:
            _allow_origin(answer, settings.cors_origins)
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "").lower():
            _compress(answer)
        record(notes, environ["REQUEST_METHOD"], raw_path(environ), answer.status)
        return answer

    def record(notes: Trace, method: str, path: str, status: int) -> None:
        seconds = time.perf_counter() - notes.started
        count, latency = metrics.request_metrics(notes.model, notes.version, notes.method, status)
        metrics.note(count, 1)
        metrics.note(latency, seconds)
        if access_log is not None:
            model, version = notes.model, notes.version
            access_log.add(Access(time.time(), method, path, model, version, status, seconds * 1000, notes.request_id))

    def note_refusal(method: str, path: str, sent_id: str, status: int) -> str:
        """Record an answer that the server gives without the app, and return the id that it shall carry."""
        notes = Trace(time.perf_counter(), _request_id(sent_id))
        record(notes, method or "-", path or "-", status)
        return notes.request_id

    app.extensions["note_refusal"] = note_refusal


def _request_id(sent: str) -> str:
    """The id that the caller sent, if it is sane, else a new one."""
    return sent if _SANE_ID.fullmatch(sent) else os.urandom(16).hex()


def _preflight() -> Answer:
    """Upstream's answer to OPTIONS: 200 for a browser's preflight, else 400, both empty."""
    return json_answer(b"", 200 if _ORIGIN.match(request.headers.get("Origin", "")) else 400)


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    if isinstance(error, HTTPException) and error.code == 404:
        return NotFound(malformed())
    if isinstance(error, HTTPException) and error.code == 405:
        return MethodNotAllowed(malformed(), tuple(getattr(error, "valid_methods", None) or ()))
    log.exception("request %s failed", trace().request_id)
    return ServingError("The server failed on this request; its log says why, under the X-Request-Id of this answer")


def _error_answer(error: ServingError, upstream_status: bool) -> Answer:
    as_upstream = upstream_status and error.message.startswith(_MALFORMED) and _UPSTREAM_PATH.match(raw_path())
    answer = json_answer(_error_body(error.message), 400 if as_upstream else error.status)
    if isinstance(error, MethodNotAllowed):
        answer.headers["Allow"] = ", ".join(sorted(error.allowed))
    if isinstance(error, Unavailable):
        answer.headers["Retry-After"] = "1"
    return answer


def _error_body(text: str) -> bytes:
    """`{"error": "..."}` with as much of the text as MAX_ERROR_BYTES hold."""
    text = text[:MAX_ERROR_BYTES].encode(errors="replace").decode()
    body = orjson.dumps({"error": text})
    while len(body) > MAX_ERROR_BYTES:
        text = text[: len(text) * 3 // 4]
        body = orjson.dumps({"error": text + "..."})
    return body


def _allow_origin(answer: Answer, origins: tuple[str, ...]) -> None:
    origin = "*" if "*" in origins else request.headers.get("Origin", "")
    if origin in origins:
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Access-Control-Allow-Methods"] = "POST, GET"
        answer.headers["Access-Control-Allow-Headers"] = "Content-Type"
        answer.headers["Access-Control-Expose-Headers"] = _EXPOSED
    if "*" not in origins:
        answer.vary("Origin")


def _compress(answer: Answer) -> None:
    """Compress an answer that is worth it, for a caller that takes gzip."""
    if "Content-Encoding" in answer.headers:
        return
    answer.vary("Accept-Encoding")
    if len(answer.body) < COMPRESS_FROM_BYTES or not request.accept_encodings["gzip"]:
        return
    stream = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS)
    answer.body = stream.compress(answer.body) + stream.flush()
    answer.headers["Content-Encoding"] = "gzip"
