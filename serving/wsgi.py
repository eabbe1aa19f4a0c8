"""To and from WSGI: a request as an environ, and what an application answers as HTTP/1.1."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from serving.answers import Written, http_date, size_of
from serving.caller import CALLER
from serving.connection import Connection
from serving.request import Request

JOINED_BYTES = 64 * 1024
"""Up to here an answer is copied into one piece, which is sent sooner than several."""
SENDS_MEMORY = "serving.sends_memory"
"""Where in the WSGI environ a server says that it takes pieces of memory as well as bytes."""

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes | memoryview]]


def environ_of(request: Request, connection: Connection, base: Environ) -> Environ:
    """The WSGI environ of a request; `base` holds what is the same for all."""
    path, _, query = request.target.partition(b"?")
    environ = base | {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "RAW_URI": request.target.decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/" + request.version,
        "REMOTE_ADDR": connection.peer,
        "CONTENT_LENGTH": str(request.body_bytes),
        "wsgi.input": request.body,
        CALLER: request.caller,
    }
    if connection.certificate:
        environ["serving.client_certificate"] = connection.certificate
    request.body.seek(0)
    for name, value in request.headers:
        key = _ENVIRON_NAMES.get(name) or _environ_name(name)
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ and key.startswith("HTTP_") else text
    environ["CONTENT_LENGTH"] = str(request.body_bytes)
    for hop_by_hop in ("HTTP_TRANSFER_ENCODING", "HTTP_CONNECTION", "HTTP_UPGRADE"):
        environ.pop(hop_by_hop, None)
    return environ


def environ_of_refused(request: Request, peer: str) -> Environ:
    """What is known of a request that the application does not get to see, which may be only a part of one."""
    path = request.target.partition(b"?")[0]
    return {
        "REQUEST_METHOD": request.method,
        "RAW_URI": path.decode("latin-1"),
        "REMOTE_ADDR": peer,
        "HTTP_X_REQUEST_ID": request.header(b"x-request-id").decode("latin-1"),
        CALLER: request.caller,
    }


def call(application: Application, environ: Environ, keep_alive: bool) -> Written:
    """Call a WSGI application and return its answer as HTTP/1.1.

    The application may answer in pieces of memory where it finds SENDS_MEMORY in the environ.
    """
    head: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
        head[:] = [(status, headers)]

    parts = application(environ, start_response)
    try:
        body = list(parts)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    status, headers = head[0]
    lines = [f"HTTP/1.1 {status}"]
    has_length = False
    for name, value in headers:
        lines.append(f"{name}: {value}")
        has_length = has_length or name.lower() == "content-length"
    if not has_length:
        lines.append(f"Content-Length: {sum(map(len, body))}")
    lines.append(f"Date: {http_date()}")
    lines.append("Connection: keep-alive\r\n\r\n" if keep_alive else "Connection: close\r\n\r\n")
    answer = ["\r\n".join(lines).encode("latin-1"), *([] if environ["REQUEST_METHOD"] == "HEAD" else body)]
    return answer if size_of(answer) > JOINED_BYTES else b"".join(answer)


_ENVIRON_NAMES = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


@lru_cache(maxsize=256)
def _environ_name(name: bytes) -> str:
    """The WSGI name of a header. One with an underscore could pass for another; it gets a name that nothing reads."""
    text = name.decode("latin-1")
    return "serving.ignored" if "_" in text else "HTTP_" + text.upper().replace("-", "_")
