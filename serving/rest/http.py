"""What holds for every request and answer: ids, errors as JSON, CORS, compression, metrics and the access log."""

import logging
import math
import random
import re
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import orjson
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header

from serving import metrics
from serving.answers import RETRY_SECONDS
from serving.caller import CALLER, MAX_TIMEOUT_MS, Caller, timeout_ms
from serving.errors import (
    InvalidArgument,
    MethodNotAllowed,
    NotFound,
    ResourceExhausted,
    ServingError,
    Unauthenticated,
    Unavailable,
)
from serving.logs import Access, AccessLog
from serving.rest.application import Answer, Environ, json_answer
from serving.rest.browsers import Browsers
from serving.rest.trace import MALFORMED, Trace, begin, end, environ_in_hand, malformed, noted, path_of, trace
from serving.settings import Settings

log = logging.getLogger(__name__)

MAX_ERROR_BYTES = 4096
"""What the body of an error is cut to, so that no answer repeats a large request."""
COMPRESS_FROM_BYTES = 4096
"""Smaller answers fit a few packets, so compressing them costs more time than it saves."""

TIMEOUT_HEADER = "X-Request-Timeout-Ms"

_ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How answers may be compressed, the first where a caller takes both, with zlib's number for its form."""
_SANE_ID = re.compile(r"[\w.:@/+=-]+", re.ASCII)
_EXPOSED = "X-Model-Version, X-Request-Id, Inference-Header-Content-Length"
_SENT = "Content-Type, Inference-Header-Content-Length"
_SENT_WITH_KEYS = f"{_SENT}, Authorization, X-API-Key"
_ORIGIN = re.compile(r"https?://")
_UPSTREAM_PATH = re.compile(r"(?i)/v1/")


def heed_deadline() -> None:
    """Give the request in hand less time where its headers ask for that; raise if nobody waits for it any more."""
    caller, asked = trace().caller, environ_in_hand().get("HTTP_X_REQUEST_TIMEOUT_MS")
    if asked is not None:
        milliseconds = timeout_ms(asked)
        if milliseconds is None:
            raise InvalidArgument(
                f"{TIMEOUT_HEADER} is {asked[:40]!r}; give a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}"
            )
        caller.allow(milliseconds / 1000)
    caller.check()


class Guard(Protocol):
    """Who says which requests may go on."""

    def admit(self, notes: Trace) -> None:
        """Raise an error unless the request in hand may go on; note who asks and what was decided."""

    def release(self, notes: Trace) -> None:
        """Note that a request is over, whether it was admitted or not."""


class Conventions:
    """What holds for every request and answer; see `AroundViews`. May be used by several threads at once."""

    def __init__(
        self,
        settings: Settings,
        request_logs: Sequence[AccessLog],
        guard: Guard | None,
        leave_room: Callable[[], None],
    ) -> None:
        """Without a guard every request may go on."""
        self._settings = settings
        self._logs = request_logs
        self._guard = guard
        self._leave_room = leave_room
        self._browsers = Browsers(settings)
        self._may_send = _SENT if guard is None else _SENT_WITH_KEYS

    def start(self, environ: Environ) -> Answer | None:
        """Note what is known of it, and refuse it if it may not go on."""
        request_id = self._request_id(environ)
        caller = environ.get(CALLER) or _caller(self._settings.request_timeout_seconds)
        notes = Trace(time.perf_counter(), request_id, caller, path_of(environ))
        begin(environ, notes)
        self._browsers.check(environ, notes.path)
        if self._guard is not None:
            self._guard.admit(notes)
        return _preflight(environ, self._settings.upstream_status) if environ["REQUEST_METHOD"] == "OPTIONS" else None

    def answer_error(self, error: Exception) -> Answer:
        """Answer what was raised."""
        if isinstance(error, HTTPException) and error.code not in (None, 404, 405):
            return json_answer(_error_body(error.description or error.name), error.code)
        return _error_answer(_as_serving_error(error), self._settings.upstream_status)

    def finish(self, answer: Answer) -> Answer:
        """Give the answer its headers, and record it."""
        notes, environ = trace(), environ_in_hand()
        if notes.room_bytes:
            self._leave_room()
        answer.headers["X-Request-Id"] = notes.request_id
        answer.headers["X-Content-Type-Options"] = "nosniff"
        if environ["REQUEST_METHOD"] != "POST":  # whose answers nobody keeps
            answer.headers.setdefault("Cache-Control", "no-store")
        if self._settings.cors_origins:
            _allow_origin(answer, environ.get("HTTP_ORIGIN", ""), self._settings.cors_origins, self._may_send)
        if accepted := environ.get("HTTP_ACCEPT_ENCODING"):
            _compress(answer, accepted)
        if notes.caller.claim():  # else it has been answered, and that was recorded
            self._record(notes, environ, answer.status, time.perf_counter() - notes.started)
        return answer

    def let_go(self) -> None:
        """Keep nothing of it."""
        notes = end()
        if self._guard is not None and notes is not None:
            self._guard.release(notes)

    def note_refusal(self, environ: Environ, status: int) -> str:
        """Record an answer that the server gives without the app, and return the id that it shall carry.

        A request that the app has begun to answer is recorded with what is noted of it by now.
        """
        notes = noted(environ) or self._trace_of_refused(environ)
        self._record(notes, environ, status, time.monotonic() - notes.caller.arrived)
        return notes.request_id

    def _trace_of_refused(self, environ: Environ) -> Trace:
        path = environ["RAW_URI"].partition("?")[0] or "-"
        return Trace(time.perf_counter(), self._request_id(environ), environ[CALLER], path)

    def _request_id(self, environ: Environ) -> str:
        """The id that the caller sent, if it is sane, else a new one, which opens nothing and so may be foreseen."""
        sent: str = environ.get("HTTP_X_REQUEST_ID", "")
        if sent and len(sent) <= self._settings.max_request_id_chars and _SANE_ID.fullmatch(sent):
            return sent
        return f"{random.getrandbits(128):032x}"

    def _record(self, notes: Trace, environ: Environ, status: int, seconds: float) -> None:
        count, latency = metrics.request_metrics(notes.model, notes.version, notes.method, status)
        metrics.note(count, 1)
        metrics.note(latency, seconds)
        if self._logs:
            entry = Access(
                time.time(), environ["REQUEST_METHOD"] or "-", notes.path, notes.model, notes.version, status,
                seconds * 1000, notes.request_id, notes.caller_name, environ.get("REMOTE_ADDR", ""),
            )  # fmt: skip
            for log_of_requests in self._logs:
                log_of_requests.add(entry)


def _caller(seconds: float) -> Caller:
    """Whoever sent a request under a worker that does not say."""
    now = time.monotonic()
    return Caller(now, now + seconds)


def _preflight(environ: Environ, as_upstream: bool) -> Answer:
    """The answer to OPTIONS: 200 and nothing for a browser's preflight, else 400, upstream's without a word."""
    if _ORIGIN.match(environ.get("HTTP_ORIGIN", "")):
        return json_answer(b"")
    if as_upstream:
        return json_answer(b"", 400)
    raise InvalidArgument(malformed())


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
    as_upstream = upstream_status and error.message.startswith(MALFORMED) and _UPSTREAM_PATH.match(trace().path)
    answer = json_answer(_error_body(error.message), 400 if as_upstream else error.status)
    if isinstance(error, MethodNotAllowed):
        answer.headers["Allow"] = ", ".join(sorted(error.allowed))
    if isinstance(error, Unavailable):
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, ResourceExhausted):
        answer.headers["Retry-After"] = str(math.ceil(error.retry_seconds))
    if isinstance(error, Unauthenticated):
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _error_body(text: str) -> bytes:
    """`{"error": "..."}` with as much of the text as MAX_ERROR_BYTES hold."""
    text = text[:MAX_ERROR_BYTES].encode(errors="replace").decode()
    body = orjson.dumps({"error": text})
    while len(body) > MAX_ERROR_BYTES:
        text = text[: len(text) * 3 // 4]
        body = orjson.dumps({"error": text + "..."})
    return body


def _allow_origin(answer: Answer, origin: str, origins: tuple[str, ...], may_send: str) -> None:
    if "*" in origins:
        origin = "*"
    if origin in origins:
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Access-Control-Allow-Methods"] = "POST, GET"
        answer.headers["Access-Control-Allow-Headers"] = may_send
        answer.headers["Access-Control-Expose-Headers"] = _EXPOSED
    if "*" not in origins:
        answer.vary("Origin")


def _compress(answer: Answer, accepted: str) -> None:
    """Compress an answer that is worth it, for a caller that names an encoding among those that it takes."""
    named = [encoding for encoding in _ENCODINGS if encoding in accepted.lower()]
    if not named or "Content-Encoding" in answer.headers:
        return
    answer.vary("Accept-Encoding")
    if len(answer.body) + sum(map(len, answer.tail)) < COMPRESS_FROM_BYTES:
        return
    qualities = parse_accept_header(accepted)
    encoding = next((encoding for encoding in named if qualities[encoding]), None)
    if encoding is None:
        return
    stream = zlib.compressobj(level=1, wbits=_ENCODINGS[encoding])
    answer.body = b"".join((*map(stream.compress, (answer.body, *answer.tail)), stream.flush()))
    answer.tail = ()
    answer.headers["Content-Encoding"] = encoding
