"""The application with a leak, to show that the test of its memory finds one: gunicorn tests.leaking_app:app."""

from collections.abc import Iterable
from typing import Any

from wsgi import app as application

kept: list[bytes] = []


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer, and keep a kilobyte of each request for ever."""
    kept.append(bytes(1024))
    return application(environ, start_response)
