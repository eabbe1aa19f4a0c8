"""Flask, less what this server does without on the way to a view: contexts, hooks, signals, streamed answers.

For a small model that machinery is a sixth of what a request costs. Routes, blueprints, views, the test client and the
command line are Flask's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from flask import Flask, Request
from werkzeug.exceptions import NotFound

from serving.rest.remembered import remembered
from serving.wsgi import SENDS_MEMORY

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
View = Callable[..., Any]

_WITHOUT_CONTEXT = "without_context"
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
        start_response(_STATUS_LINES.get(self.status) or f"{self.status} ", headers)
        pieces: Sequence[Any] = (self.body, *self.tail)
        return (b"",) if self.status == 304 or environ["REQUEST_METHOD"] == "HEAD" else pieces


def json_answer(body: bytes, status: int = 200) -> Answer:
    """An answer of JSON that is already text."""
    return Answer(body, status, {"Content-Type": "application/json"})


_LeanView = TypeVar("_LeanView", bound=Callable[..., Answer])


def without_context(view: _LeanView) -> _LeanView:
    """Mark a view that asks nothing of Flask's `request`, `g` and `current_app`."""
    setattr(view, _WITHOUT_CONTEXT, True)
    return view


class AroundViews(Protocol):
    """What is done for each request before and after its view."""

    def start(self, environ: Environ) -> Answer | None:
        """Called first; the answer where no view is to be called, as it is for OPTIONS."""

    def answer_error(self, error: Exception) -> Answer:
        """The answer for what `start`, the view or `finish` has raised."""

    def finish(self, answer: Answer) -> Answer:
        """Called with the answer; the one that is given."""

    def let_go(self) -> None:
        """Called last, whatever has happened."""


class Application(Flask):
    """A Flask application with what is done around its views in one object instead of hooks and error handlers.

    Those of Flask are never called, so a request is refused where there are any. Flask's context is made only for views
    that are not marked `without_context`; it knows the request, but not its route.
    """

    def __init__(self, import_name: str, around_views: AroundViews) -> None:
        super().__init__(import_name, static_folder=None)
        self._around_views = around_views
        self._find_view = remembered(self._match)
        self.url_map.merge_slashes = False

    def wsgi_app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        around = self._around_views
        try:
            try:
                answer = around.finish(self._ask(environ))
            except Exception as error:  # of `finish`: this answer goes as it is
                answer = around.answer_error(error)
            return answer(environ, start_response)
        finally:
            around.let_go()

    def create_url_adapter(self, request: Request | None) -> Any:
        """None: the context of a request does not look for its route, which is known."""
        return None

    def make_response(self, rv: Any) -> Any:
        """What a view returns that is no Answer goes the long way through Flask's own Response."""
        if isinstance(rv, Answer):
            return rv
        response = super().make_response(rv)
        headers = {name: value for name, value in response.headers.items() if name != "Content-Length"}
        return Answer(response.get_data(), response.status_code, headers)

    def _ask(self, environ: Environ) -> Answer:
        """The answer of the view, or of what is done before."""
        around = self._around_views
        try:
            answer = around.start(environ)
            return self._call_view(environ) if answer is None else answer
        except Exception as error:
            return around.answer_error(error)

    def _call_view(self, environ: Environ) -> Answer:
        view, arguments = self._find_view(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
        if hasattr(view, _WITHOUT_CONTEXT):
            answer: Answer = view(**arguments)
        else:
            with self.request_context(environ):
                answer = self.make_response(view(**arguments))
        return answer

    def _match(self, method: str, path: str) -> tuple[View, Mapping[str, Any]]:
        if self.before_request_funcs or self.after_request_funcs or any(self.error_handler_spec.values()):
            raise TypeError("hooks and error handlers of Flask are not called here; see AroundViews")
        if path.startswith("//"):  # which werkzeug takes for one
            raise NotFound
        text = path.encode("latin-1").decode(errors="replace")  # WSGI's way to hand on bytes
        endpoint, arguments = self.url_map.bind("", path_info=text, default_method=method).match()
        return self.view_functions[endpoint], arguments
