"""The servers that are measured: how each is started, how it is asked, and when it is ready.

This project's as `make run` starts it; the constant under the same worker class and settings; the service written by
hand. The others are in bench/peers.py.
"""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench import dialects, processes
from bench.dialects import Dialect
from bench.loop import CORES
from bench.places import APPS, ROOT

FIRST_PORT, LAST_PORT = 5200, 5299
PORTS_EACH = 3  # some open others beside the one that is asked
START_SECONDS = 120.0
STOP_SECONDS = 20.0

OURS, CONSTANT, FLASK, SYNC, LIMIT = "ours", "constant", "flask run", "gunicorn sync", "limit"


_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")


class NotMeasured(Exception):
    """Why something was not measured."""


class Ended(NotMeasured):
    """A server that ended by itself when it was started."""


@dataclass(frozen=True)
class Server:
    """A server to start. In the command and the environment, {port}, {models} and {scratch} are filled in."""

    name: str
    command: tuple[str, ...]
    dialects: Mapping[str, Dialect]
    """How it is asked, by encoding: json, gzip, binary."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/ready"
    """What answers 200 when it is ready; asked for each model where {model} stands in it."""
    folder: Path = APPS
    answers: bool = True
    """Whether its answers are those of a model."""
    restless: bool = False
    """Whether it uses the processor when it has nothing to do, so that it is halted while others are measured."""


@dataclass(frozen=True)
class Running:
    """A server that has started, and how long it took until it was ready."""

    server: Server
    process: "subprocess.Popen[bytes]"
    port: int
    start_seconds: float
    log: Path

    def halt(self) -> None:
        """Keep a restless server from running until it is resumed."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.server.restless:
            for pid in processes.tree(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def epitaph(self) -> str:
        """The last that a server said that has ended by itself."""
        return "" if self.process.poll() is None else f"; it has ended: {_last_words(self.log)}"

    def stop(self) -> None:
        """End the server and what it started. Twice is safe."""
        self.resume()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def ours() -> Server:
    """This project, as `make run` starts it."""
    rows = dialects.rows("/v1/models/{model}:predict")
    return Server(
        OURS,
        (sys.executable, "-m", "gunicorn", "wsgi:app"),
        {"json": rows, "gzip": dialects.gzipped(rows), "binary": dialects.binary()},
        {"HOST": "127.0.0.1", "PORT": "{port}", "SERVING_MODEL_DIR": "{models}"},
        "/readyz",
        ROOT,
    )


def constant() -> Server:
    """A constant from Flask under this project's worker class and settings."""
    same = ours()
    command = (sys.executable, "-m", "gunicorn", "-c", str(APPS / "constant_conf.py"), "bench.apps.constant:app")
    environment = {**same.environment, "SERVING_RUNTIME_DIR": "{scratch}/runtime"}
    return Server(CONSTANT, command, same.dialects, environment, folder=ROOT, answers=False)


def handwritten() -> list[Server]:
    """The service written by hand, under Flask's own server and under gunicorn."""
    rows = {"json": dialects.rows("/{model}")}
    environment = {"BENCH_MODELS": "{models}"}
    flask = ("-m", "flask", "--app", "handwritten", "run", "--port", "{port}")
    sync = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", str(CORES), "--timeout", "300")
    return [
        Server(FLASK, (sys.executable, *flask), rows, environment),
        Server(SYNC, (sys.executable, *sync, "handwritten:app"), rows, environment),
    ]


def start(server: Server, port: int, models: Path, scratch: Path) -> Running:
    """Start a server on a port with a directory of models; NotMeasured when it does not get ready."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    values = {"port": port, "models": models, "scratch": scratch}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SERVING_", "PROMETHEUS_"))}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore"}
    log = scratch / "output.log"
    if is_taken(port):
        raise NotMeasured(f"port {port} is taken")
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(**values) for part in server.command],
            cwd=server.folder,
            env=inherited | quiet | {name: value.format(**values) for name, value in server.environment.items()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(server, process, port, 0.0, log)
    try:
        names = [path.name for path in models.iterdir()] or [""]
        for path in dict.fromkeys(server.ready.format(model=name) for name in names):
            _wait_until_ready(running, path, began)
    except BaseException:
        running.stop()
        raise
    return Running(server, process, port, time.perf_counter() - began, log)


def _wait_until_ready(running: Running, path: str, began: float) -> None:
    while not is_ok(running.port, path):
        if running.process.poll() is not None:
            raise Ended(f"it ended at start: {_last_words(running.log)}")
        if time.perf_counter() - began > START_SECONDS:
            raise NotMeasured(f"not ready within {START_SECONDS:.0f} s: {_last_words(running.log)}")
        time.sleep(0.02)


def is_taken(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def is_ok(port: int, path: str) -> bool:
    """Whether a server answers 200 to a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_words(log: Path) -> str:
    """The last error in a log, else its last line."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines)[-1][-300:]
