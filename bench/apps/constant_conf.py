"""The settings of the project's gunicorn.conf.py, less its hooks, which are about models."""

import runpy
from pathlib import Path

_settings = runpy.run_path(str(Path(__file__).parents[2] / "gunicorn.conf.py"))
globals().update({name: value for name, value in _settings.items() if name[0] != "_" and not callable(value)})
