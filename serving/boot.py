"""What is settled once, before the workers start: that the server can run, how many workers, and what they share."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving import capacity
from serving.access import limits
from serving.access.callers import check_access, is_guarded
from serving.errors import SettingsError
from serving.logs import append_to
from serving.models.configured import make_source
from serving.models.control import OrderFile
from serving.models.directory import check_directory
from serving.models.parameters import read_parameters
from serving.models.quarantine import Deaths
from serving.models.source import wanted
from serving.models.statistics import Statistics
from serving.settings import REQUEST_MEMORY_SHARES, Settings, environ_name, is_loopback

log = logging.getLogger(__name__)

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OWNER_VARIABLE = "_SERVING_RUNTIME_DIR_OWNER"
"""The process that made the directory that the workers share, and is to remove it; not set where it was given."""
SYSTEMD_FDS = 3
"""The first of the sockets that systemd hands over."""
deaths = Deaths()
"""Those of the workers of this parent, which reads its configuration again and again."""
_GPU_DEVICES = ("nvidia[0-9]*", "dxg")


def prepare(environ: MutableMapping[str, str]) -> Settings:
    """The settings with what was left to choose chosen; noted in `environ`, where the workers find it.

    Called again, when gunicorn reads its configuration anew, it changes nothing; in a new parent that gunicorn has
    started beside the old one it makes a directory of its own. SettingsError when the server cannot start with what it
    was given.
    """
    if environ.get(OWNER_VARIABLE, str(os.getpid())) != str(os.getpid()):
        for variable in (OWNER_VARIABLE, METRICS_VARIABLE, environ_name("runtime_dir")):
            environ.pop(variable, None)
    settings = Settings.from_environ(environ)
    if settings.metrics_dir is not None and environ.get(METRICS_VARIABLE) == str(settings.metrics_dir):
        return settings
    check_access(settings)
    check_exposure(settings, [settings.host])
    check_audit_file(settings.audit_file)
    read_parameters(settings.batching_parameters_file)  # each worker reads them; what is wrong is said here, once
    check_request_memory(settings)
    check_head(settings)
    check_manifest_keys(settings)
    plan = capacity.plan(
        capacity.this_machine(count_gpus()),
        wanted_memory(settings),
        settings.memory_for_requests + settings.kept_bytes,
        settings.workers,
        settings.threads,
    )
    runtime_dir = settings.runtime_dir or _make_runtime_dir(environ)
    settings = replace(settings, workers=plan.workers, threads=plan.threads, runtime_dir=runtime_dir)
    try:
        for shared in (
            settings.metrics_dir,
            settings.workers_dir,
            settings.limits_dir,
            settings.control_dir,
            settings.statistics_dir,
            settings.runs_dir,
        ):
            _empty(shared)
    except OSError as error:
        raise SettingsError(
            f"{environ_name('runtime_dir')}={str(runtime_dir)!r} cannot be used: {error.strerror}"
        ) from None
    for field in ("workers", "threads", "runtime_dir"):
        environ[environ_name(field)] = str(getattr(settings, field))
    environ[METRICS_VARIABLE] = str(settings.metrics_dir)
    return settings


def own_runtime_dir(environ: MutableMapping[str, str]) -> None:
    """Note that this process, which may be a child of the one that made it, is to remove what the workers share."""
    if OWNER_VARIABLE in environ:
        environ[OWNER_VARIABLE] = str(os.getpid())


def remove_runtime_dir(environ: MutableMapping[str, str]) -> None:
    """Remove what the workers shared, if this process is the one to do so. Twice is safe."""
    if environ.get(OWNER_VARIABLE) == str(os.getpid()):
        shutil.rmtree(environ[environ_name("runtime_dir")], ignore_errors=True)


@contextmanager
def going_on(what: str) -> Iterator[None]:
    """Log whatever goes wrong and go on: an error in a hook would end the parent, and with it the server."""
    try:
        yield
    except Exception as error:
        log.error("%s: this cannot be seen to now: %s", what, error, exc_info=not isinstance(error, OSError))


def forget_worker(settings: Settings, pid: int, index: int) -> None:
    """Remove what a worker that has ended had told the others, and what it had in hand."""
    with going_on(f"what worker {pid} had in hand"):
        limits.forget(settings.limits_dir, index)
    if settings.runs_dir is not None:
        orders, statistics = OrderFile(settings.control_dir), Statistics(settings.statistics_dir, index)
        with going_on(f"why worker {pid} ended"):
            deaths.examine(pid, settings.runs_dir, orders, statistics)
    if settings.workers_dir is not None:
        with going_on(f"what worker {pid} had told the others"):
            for suffix in (".json", ".new"):
                (settings.workers_dir / f"{pid}{suffix}").unlink(missing_ok=True)


def forgive(settings: Settings) -> None:
    """Have every version that is in quarantine tried again."""
    with going_on("what is in quarantine"):
        OrderFile(settings.control_dir).forgive()


def wanted_memory(settings: Settings) -> int:
    """What the versions take that each worker will load; SettingsError where they cannot be looked at."""
    if settings.model_config_file is None:
        check_directory(settings.model_dir)
    models = make_source(replace(settings, model_poll_seconds=0, runtime_dir=None)).poll().values()
    return sum(
        capacity.model_memory(capacity.directory_bytes(version.path), settings.freeze_max_bytes)
        for model in models
        for version in model.versions
        if version.version in wanted(model.config.policy, [its.version for its in model.versions], ())
    )


def count_gpus() -> int:
    """How many GPUs TensorFlow can use, asked in another process, since asking starts CUDA, which no fork survives."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in _GPU_DEVICES):
        return 0
    code = "from serving.models.runtime import list_gpus; print(len(list_gpus()))"
    python = [sys.executable, "-c", code]
    answer = subprocess.run(python, capture_output=True, text=True, check=False)  # noqa: S603  # our own code
    return int(answer.stdout) if answer.returncode == 0 else 0


def check_address(host: str, port: int) -> None:
    """Raise SettingsError unless the server can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port} ({_reason(error)}): stop what uses it, or set PORT or HOST to another"
        ) from None


def check_exposure(settings: Settings, hosts: Iterable[str]) -> None:
    """Raise SettingsError where the server would listen on a public address and ask nobody who they are."""
    public = next((host for host in hosts if not is_loopback(host)), None)
    if public is None or is_guarded(settings) or settings.allow_anonymous:
        return
    raise SettingsError(
        f"listening on {public} would let anybody in: set {environ_name('keys_file')} to a file of keys "
        f"(`python -m serving keys create`) or {environ_name('tls_client_ca_file')}, listen on 127.0.0.1, "
        f"or set {environ_name('allow_anonymous')}=true"
    )


def note_reach(environ: MutableMapping[str, str], hosts: Iterable[str]) -> None:
    """Have the workers answer to any name where others than programs of this machine, or only a proxy, can reach them.

    Where the server really listens is known only here: gunicorn may have been told another address than the settings.
    """
    hosts = list(hosts)
    if not hosts or not all(map(is_loopback, hosts)):
        environ.setdefault(environ_name("allowed_hosts"), "*")


def listening_hosts(addresses: Iterable[Any], environ: Mapping[str, str]) -> list[str]:
    """Where gunicorn will listen: on sockets that it was given, else on these addresses. A Unix socket is no host."""
    given = [int(number) for number in environ.get("GUNICORN_FD", "").split(",") if number]
    if environ.get("LISTEN_PID") == str(os.getpid()):
        given += range(SYSTEMD_FDS, SYSTEMD_FDS + int(environ.get("LISTEN_FDS", "0")))
    fds = given + [address for address in addresses if isinstance(address, int)]
    found = [_socket_name(fd) for fd in fds] if fds else list(addresses)
    return [name[0] for name in found if isinstance(name, tuple)]


def check_request_memory(settings: Settings) -> None:
    """Raise SettingsError where a body of the largest size would never find the memory to be received."""
    least = settings.max_body_bytes * REQUEST_MEMORY_SHARES
    if settings.memory_for_requests < least:
        raise SettingsError(
            f"{environ_name('request_memory_bytes')}={settings.request_memory_bytes} is too little for bodies of "
            f"{environ_name('max_body_bytes')}={settings.max_body_bytes}: give {least} or more"
        )


def check_head(settings: Settings) -> None:
    """Raise SettingsError where the whole head of a request may be no larger than its line or one of its headers."""
    for name in ("max_request_line_bytes", "max_header_bytes"):
        if getattr(settings, name) > settings.max_head_bytes:
            raise SettingsError(
                f"{environ_name(name)}={getattr(settings, name)} is more than the whole head of a request may have: "
                f"raise {environ_name('max_head_bytes')}={settings.max_head_bytes} too"
            )


def memory_line(settings: Settings) -> str:
    """What a worker may take in memory beside its models, for the log."""
    requests, kept, worker = settings.memory_for_requests >> 20, settings.kept_bytes >> 20, capacity.WORKER_BYTES >> 20
    return (
        f"each of {settings.workers} workers takes up to {requests} MiB for requests and keeps up to {kept} MiB for "
        f"the next ones, beside some {worker} MiB of its own and {capacity.MODEL_FACTOR} times the size of its models, "
        f"{capacity.MODEL_FACTOR + capacity.FROZEN_FACTOR} times where they are frozen"
    )


def check_manifest_keys(settings: Settings) -> None:
    """Raise SettingsError where the keys of those who sign manifests cannot be used."""
    if settings.manifest_keys_file is not None:
        from serving.models.signing import signed_by

        signed_by(settings.manifest_keys_file)


def check_audit_file(path: Path | None) -> None:
    """Raise SettingsError unless lines can be appended to the file."""
    try:
        if path is not None:
            append_to(path)("")
    except OSError as error:
        raise SettingsError(f"{environ_name('audit_file')}: {path}: cannot be written: {error.strerror}") from None


def worker_index(taken: set[int]) -> int:
    """The lowest number that no running worker has."""
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _reason(error: OSError) -> str:
    """Why, in the words of the system or of name resolution, without those that the socket module adds."""
    return (error.strerror or str(error)).partition(" (while attempting")[0]


def _socket_name(fd: int) -> Any:
    with socket.socket(fileno=os.dup(fd)) as listener:
        return listener.getsockname()


def _make_runtime_dir(environ: MutableMapping[str, str]) -> Path:
    try:
        made = tempfile.mkdtemp(prefix="serving-")
    except OSError as error:
        raise SettingsError(
            f"no directory can be made for what the workers share ({error.strerror}): "
            f"set {environ_name('runtime_dir')} or TMPDIR to one that can be written"
        ) from None
    environ[environ_name("runtime_dir")] = made
    environ[OWNER_VARIABLE] = str(os.getpid())
    return Path(made)


def _empty(directory: Path | None) -> None:
    assert directory is not None
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
