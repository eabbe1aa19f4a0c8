"""What is settled once, before the workers start: that the server can run, how many workers, and what they share."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path

from serving import capacity
from serving.errors import SettingsError
from serving.models.configured import make_source
from serving.models.directory import check_directory
from serving.models.source import wanted
from serving.settings import Settings, environ_name

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_GPU_DEVICES = ("nvidia[0-9]*", "dxg")


def prepare(environ: MutableMapping[str, str]) -> Settings:
    """The settings with what was left to choose chosen; noted in `environ`, where the workers find it.

    Called again, when gunicorn reads its configuration anew, it changes nothing. SettingsError when the server cannot
    start with what it was given.
    """
    settings = Settings.from_environ(environ)
    if settings.metrics_dir is not None and environ.get(METRICS_VARIABLE) == str(settings.metrics_dir):
        return settings
    plan = capacity.plan(
        capacity.this_machine(count_gpus()), wanted_bytes(settings), settings.workers, settings.threads
    )
    runtime_dir = settings.runtime_dir or Path(tempfile.mkdtemp(prefix="serving-"))
    settings = replace(settings, workers=plan.workers, threads=plan.threads, runtime_dir=runtime_dir)
    _empty(settings.metrics_dir)
    _empty(settings.workers_dir)
    for field in ("workers", "threads", "runtime_dir"):
        environ[environ_name(field)] = str(getattr(settings, field))
    environ[METRICS_VARIABLE] = str(settings.metrics_dir)
    return settings


def wanted_bytes(settings: Settings) -> int:
    """The size on disk of the versions that each worker will load; SettingsError where they cannot be looked at."""
    if settings.model_config_file is None:
        check_directory(settings.model_dir)
    models = make_source(replace(settings, model_poll_seconds=0, runtime_dir=None)).poll().values()
    return sum(
        capacity.directory_bytes(version.path)
        for model in models
        for version in model.versions
        if version.version in wanted(model.config.policy, [its.version for its in model.versions], ())
    )


def count_gpus() -> int:
    """How many GPUs TensorFlow can use, asked in another process, since asking starts CUDA, which no fork survives."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in _GPU_DEVICES):
        return 0
    code = "from serving.models.runtime import list_gpus; print(len(list_gpus()))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else 0


def check_address(host: str, port: int) -> None:
    """Raise SettingsError unless the server can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port} ({os.strerror(error.errno) if error.errno else error}): "
            "stop what uses it, or set PORT or HOST to another"
        ) from None


def worker_index(taken: set[int]) -> int:
    """The lowest number that no running worker has."""
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _empty(directory: Path | None) -> None:
    assert directory is not None
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
