"""Flask, less what this server does without on the way to a view: contexts, hooks, signals, sessions, streamed answers.

For a small model that machinery is a fifth of what a request costs. Routes, blueprints, views, the test client and the
command line are Flask's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol

from flask import Flask
from werkzeug.exceptions import NotFound

from serving.wsgi import SENDS_MEMORY

MAX_ROUTES = 1024
"""How many paths are remembered together with the view that answers them."""

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
        start_response(_STATUS_LINES.get(self.status) or str(self.status), headers)
        pieces: Sequence[Any] = (self.body, *self.tail)
        return (b"",) if self.status == 304 or environ["REQUEST_METHOD"] == "HEAD" else pieces


def json_answer(body: bytes, status: int = 200) -> Answer:
    """An answer of JSON that is already text."""
    return Answer(body, status, {"Content-Type": "application/json"})


def without_context(view: View) -> View:
    """Mark a view that asks nothing of Flask's `request`, `g` and `current_app`, and that returns an `Answer`."""
    setattr(view, _WITHOUT_CONTEXT, True)
    return view


class EachRequest(Protocol):
    """What is done for each request beside calling its view."""

    def start(self, environ: Environ) -> Answer | None:
        """Called first; the answer where the view is not to be called."""

    def answer_error(self, error: Exception) -> Answer:
        """The answer for what `start` or the view has raised."""

    def finish(self, answer: Answer) -> Answer:
        """Called with every answer; the one that is given."""

    def let_go(self) -> None:
        """Called last, whatever has happened."""


class Application(Flask):
    """A Flask application that has an `EachRequest` in place of Flask's hooks, error handlers and signals.

    Flask's context is made only around views that are not marked `without_context`.
    """

    def __init__(self, import_name: str, each_request: EachRequest) -> None:
        super().__init__(import_name, static_folder=None)
        self._each_request = each_request
        self.url_map.merge_slashes = False
        self._find_view = lru_cache(MAX_ROUTES)(self._look_for_view)

    def wsgi_app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        each = self._each_request
        try:
            try:
                answer: Answer = each.start(environ) or self._call_view(environ)
            except Exception as error:
                answer = each.answer_error(error)
            return each.finish(answer)(environ, start_response)
        finally:
            each.let_go()

    def make_response(self, rv: Any) -> Any:
        """What a view returns that is no Answer goes the long way through Flask's own Response."""
        if isinstance(rv, Answer):
            return rv
        response = super().make_response(rv)
        return Answer(response.get_data(), response.status_code, dict(response.headers))

    def _call_view(self, environ: Environ) -> Any:
        view, arguments = self._find_view(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
        if hasattr(view, _WITHOUT_CONTEXT):
            return view(**arguments)
        with self.request_context(environ):
            return self.make_response(view(**arguments))

    def _look_for_view(self, method: str, path: str) -> tuple[View, Mapping[str, Any]]:
        if path.startswith("//"):  # which werkzeug takes for one
            raise NotFound
        text = path.encode("latin-1").decode(errors="replace")  # WSGI's way to hand on bytes
        endpoint, arguments = self.url_map.bind("", path_info=text, default_method=method).match()
        return self.view_functions[endpoint], arguments
