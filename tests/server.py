"""A real server for tests: gunicorn in a process of its own, and a small HTTP client."""

import functools
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.forks import ROOT, Fork, Forks

MEBI = 1024 * 1024


class Answer(NamedTuple):
    """An HTTP answer; `json` is the parsed body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One keep-alive connection to a server; over TLS with a context."""

    def __init__(self, port: int, timeout: float = 60, tls: ssl.SSLContext | None = None) -> None:
        self._connection = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
            if tls is None
            else http.client.HTTPSConnection("localhost", port, timeout=timeout, context=tls)
        )

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request, a body that is not bytes as JSON, and read the whole answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, data, sent)
        answer = self._connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def predict(self, model: str, **body: Any) -> Answer:
        return self.request("POST", f"/v1/models/{model}:predict", body)

    def close(self) -> None:
        self._connection.close()


class Server:
    """A running server; its output is in `log`. With `tls` it is asked over TLS."""

    def __init__(
        self, process: "subprocess.Popen[bytes] | Fork", port: int, log: Path, tls: ssl.SSLContext | None = None
    ) -> None:
        self.tls = tls
        self.process = process
        self.port = port
        self.log = log

    def client(self) -> Client:
        return Client(self.port, tls=self.tls)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        client = self.client()
        try:
            return client.request(method, path, body, **headers)
        finally:
            client.close()

    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz").status == 200
        except OSError:
            return False

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Stop the server and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(timeout=60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until the condition gives something true, and give that; fail when it has not within the time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


def memory(pid: int, name: str) -> int:
    """A line of /proc/PID/status in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def environment(**settings: Any) -> dict[str, str]:
    """This environment without settings of the server, and with these."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SERVING_", "PROMETHEUS_"))}
    return inherited | {name: str(value) for name, value in settings.items()}


def gunicorn(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gunicorn", *arguments, "wsgi:app"]


def start(command: list[str], environ: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT)


@functools.cache
def forks() -> Forks:
    """The process that forks servers, for all tests."""
    return Forks()


@contextmanager
def serving(
    log: Path, command: list[str] | None = None, tls: ssl.SSLContext | None = None, **settings: Any
) -> Iterator[Server]:
    """A server with these settings, ready, and stopped at the end; asked over TLS where there is a context for it.

    It is forked, which takes less time, unless a command is given.
    """
    port = free_port()
    environ = environment(**{"HOST": "127.0.0.1", "PORT": port, **settings})
    process = forks().start(gunicorn()[3:], environ, log) if command is None else start(command, environ, log)
    server = Server(process, port, log, tls)
    try:
        wait_for(lambda: server.is_ready() or process.poll() is not None, "the server is ready", 120)
        assert process.poll() is None, log.read_text()
        yield server
    finally:
        server.stop()


class Load:
    """Clients that send predictions to one model until they are told to stop."""

    def __init__(self, server: Server, model: str, clients: int, check: Callable[[float, Answer], str]) -> None:
        """`check` looks at the input and the answer of each request and says what is wrong with it, "" for nothing."""
        self.answered = 0
        self.wrong: list[str] = []
        self._server, self._model, self._check = server, model, check
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def stopped(self, seconds: float) -> bool:
        """Let the clients go on for so long."""
        return self._stop.wait(seconds)

    def _run(self, number: int) -> None:
        client = self._server.client()
        value = float(number)
        while not self._stop.is_set():
            value = (value + 8) % 100_000  # so that its product by a hundred is exact in float32
            try:
                problem = self._check(value, client.predict(self._model, instances=[value]))
            except OSError as error:
                client.close()
                client, problem = self._server.client(), repr(error)
            with self._lock:
                self.answered += 1
                if problem:
                    self.wrong.append(problem)
        client.close()
