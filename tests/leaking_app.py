"""The application with a leak, to show that the test of its memory finds one: gunicorn tests.leaking_app:app."""

from collections.abc import Iterable
from typing import Any

from wsgi import app

kept: list[bytes] = []
answer = app.wsgi_app


def answer_and_keep(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer, and keep a kilobyte of each request for ever."""
    kept.append(bytes(1024))
    return answer(environ, start_response)


app.wsgi_app = answer_and_keep  # type: ignore[method-assign]
