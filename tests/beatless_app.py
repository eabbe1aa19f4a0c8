"""The application without a beat, to show that a test finds what it is for: gunicorn tests.beatless_app:app."""

from serving.beat import Beat
from serving.models import runtime

Beat._start = lambda self: None  # type: ignore[method-assign]
runtime.NICENESS = 0

from wsgi import app as app  # noqa: E402
