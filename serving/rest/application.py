"""Flask, less what this server does without: sessions, asynchronous views, hosts, streamed answers.

For a small model that machinery is most of what a request costs. What is left out is left out by overriding methods
that Flask documents for it; routes, blueprints, hooks, error handlers and the test client are Flask's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import NotFound
from werkzeug.routing import Rule

from serving.wsgi import SENDS_MEMORY

MAX_ROUTES = 1024
"""How many paths are remembered together with the view that answers them."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
View = Callable[..., Any]
Route = tuple[Rule, Mapping[str, Any]]

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


@dataclass(slots=True)
class Answer:
    """A whole answer, which is a WSGI application as Flask's responses are. Header names are given once each.

    The body is followed by the pieces of the `tail`, which a server that can send memory sends without a copy.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    tail: Sequence[bytes | memoryview] = ()

    def vary(self, name: str) -> None:
        """Say that the answer depends on a header of the request."""
        known = self.headers.get("Vary")
        self.headers["Vary"] = f"{known}, {name}" if known else name

    def join(self) -> bytes:
        """Make the body, which is returned, all of the answer."""
        if self.tail:
            self.body, self.tail = b"".join((self.body, *self.tail)), ()
        return self.body

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not environ.get(SENDS_MEMORY):
            self.join()
        size = len(self.body) + sum(map(len, self.tail))
        headers = [*self.headers.items(), ("Content-Length", str(size))]
        start_response(_STATUS_LINES.get(self.status) or str(self.status), headers)
        pieces: Sequence[Any] = (self.body, *self.tail)
        return (b"",) if self.status == 304 or environ["REQUEST_METHOD"] == "HEAD" else pieces


def json_answer(body: bytes, status: int = 200) -> Answer:
    """An answer of JSON that is already text."""
    return Answer(body, status, {"Content-Type": "application/json"})


class _LazyRequest(Request):
    """Flask's request, which takes its environ apart only when somebody asks it for something."""

    def __init__(self, environ: Environ, populate_request: bool = True, shallow: bool = False) -> None:
        self.environ = environ
        self.shallow = shallow

    def __getattr__(self, name: str) -> Any:
        if name == "environ" or "headers" in self.__dict__:
            raise AttributeError(name)
        super().__init__(self.environ)
        return getattr(self, name)


class _NoSessions(SessionInterface):
    """One session for all, which cannot be written to."""

    def __init__(self) -> None:
        self._null = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._null


class Application(Flask):
    """A Flask application whose every answer is, at the end, an `Answer`."""

    request_class = _LazyRequest
    session_interface = _NoSessions()

    def __init__(self, import_name: str) -> None:
        super().__init__(import_name, static_folder=None)
        self.url_map.merge_slashes = False
        self._route = lru_cache(MAX_ROUTES)(self._find_route)

    def ensure_sync(self, func: View) -> View:
        """No view is asynchronous."""
        return func

    def create_url_adapter(self, request: Request | None) -> Any:
        """Routes are the same for every host, and those found are remembered."""
        return None if request is None else _Adapter(self._route, request.environ)

    def make_response(self, rv: Any) -> Any:
        """What a view returns that is no Answer goes the long way through Flask's own Response."""
        if isinstance(rv, Answer):
            return rv
        response = super().make_response(rv)
        return Answer(response.get_data(), response.status_code, dict(response.headers))

    # Flask looks for hooks of each blueprint as well, of which there are none here.

    def preprocess_request(self) -> Any:
        for before in self.before_request_funcs.get(None, ()):
            answer = before()
            if answer is not None:
                return answer
        return None

    def process_response(self, response: Any) -> Any:
        for after in reversed(self.after_request_funcs.get(None, [])):
            response = after(response)
        return response

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        for teardown in self.teardown_request_funcs.get(None, ()):
            teardown(exc)

    def do_teardown_appcontext(self, exc: BaseException | None = None) -> None:
        for teardown in self.teardown_appcontext_funcs:
            teardown(exc)

    def _find_route(self, method: str, path: str) -> Route:
        if path.startswith("//"):  # which werkzeug takes for one
            raise NotFound
        text = path.encode("latin-1").decode(errors="replace")  # WSGI's way to hand on bytes
        rule, arguments = self.url_map.bind("", path_info=text, default_method=method).match(return_rule=True)
        return rule, arguments


@dataclass(slots=True)
class _Adapter:
    """What Flask asks for the route of one request."""

    route: Callable[[str, str], Route]
    environ: Environ

    def match(self, return_rule: bool = True) -> Route:
        rule, arguments = self.route(self.environ["REQUEST_METHOD"], self.environ.get("PATH_INFO", ""))
        return rule, dict(arguments)
