"""`app` for gunicorn and every other WSGI server."""

from app import create_app

app = create_app()
