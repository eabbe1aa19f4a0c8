"""The application without turns, to show that a test finds what they are for: gunicorn tests.turnsless_app:app."""

from serving.turns import Turns

Turns.submit = lambda self, lane, begin: begin() is None  # type: ignore[method-assign]

from wsgi import app as app  # noqa: E402
