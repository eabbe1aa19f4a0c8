"""`serve`: become the server."""

import os
import sys
from pathlib import Path

from serving.commands.output import command, read_settings


@command("serve")
def serve() -> None:
    """Check the settings and become gunicorn, which serves the models."""
    read_settings()  # first, since gunicorn reads WEB_CONCURRENCY before it reads our configuration
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    os.execv(gunicorn, [gunicorn, "wsgi:app"])  # noqa: S606  # gunicorn, in the place of this process
