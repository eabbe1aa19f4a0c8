"""The settings of the project's gunicorn.conf.py, less its hooks about models; those that number the workers stay."""

import runpy
from pathlib import Path

_HOOKS = {"pre_fork", "post_fork"}

_settings = runpy.run_path(str(Path(__file__).parents[2] / "gunicorn.conf.py"))
globals().update({name: value for name, value in _settings.items() if name in _HOOKS or not callable(value)})
