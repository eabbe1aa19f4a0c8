"""What is noted about the request in hand, from its first byte to the line in the log."""

from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import quote

from serving.access.grants import Admission
from serving.caller import Caller
from serving.rest.application import Environ

MALFORMED = "Malformed request: "
"""How upstream's text for a path or a method that means nothing begins."""


@dataclass(slots=True)
class Trace:
    """The notes of one request. `started` is in seconds of `time.perf_counter`."""

    started: float
    request_id: str
    caller: Caller
    path: str = ""
    """As it was sent, percent signs and all, without the query string."""
    model: str = ""
    version: str = ""
    method: str = ""
    caller_name: str = ""
    room_bytes: int = 0
    """Memory that the request has taken until it is answered."""
    admission: Admission | None = None
    """What the guard has decided; None where there is no guard, and where nobody was asked."""
    charged: str = ""
    """The grant whose limits the request counts for."""


_TRACE = "serving.trace"
_in_hand: ContextVar[tuple[Environ, Trace] | None] = ContextVar("in_hand", default=None)


def begin(environ: Environ, notes: Trace) -> None:
    """Have this be the request in hand, of the thread or fiber that this is called in."""
    environ[_TRACE] = notes
    _in_hand.set((environ, notes))


def end() -> Trace | None:
    """Let go of the request in hand, which is over: threads and fibers outlive it, and its body is large.

    Returns what was noted of it; None where none was in hand.
    """
    over = _in_hand.get()
    _in_hand.set(None)
    return None if over is None else over[1]


def environ_in_hand() -> Environ:
    """The WSGI environ of the request in hand; quicker than by way of Flask's `request`, which many would ask for."""
    found = _in_hand.get()
    assert found is not None
    return found[0]


def trace() -> Trace:
    """The notes of the request in hand."""
    found = _in_hand.get()
    assert found is not None
    return found[1]


def noted(environ: Environ) -> Trace | None:
    """What has been noted of a request; None before anything has."""
    return environ.get(_TRACE)


def path_of(environ: Environ) -> str:
    """The path as it was sent, percent signs and all, without the query string."""
    target: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or _quoted(environ.get("PATH_INFO", ""))
    path = target.partition("?")[0]
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2]


def _quoted(path: str) -> str:
    """A path that a server has unquoted, in WSGI's way to hand on bytes."""
    return quote(path.encode("latin-1"), safe="/:")


def http_method() -> str:
    """The HTTP method of the request in hand."""
    its: str = environ_in_hand()["REQUEST_METHOD"]
    return its


def malformed() -> str:
    """Upstream's text for the path or the method of the request in hand, which means nothing."""
    return f"{MALFORMED}{http_method()} {trace().path}"
