"""Clients that take their time, over a real socket to a real server, and what the others notice of them."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import saved_models
from tests.authority import Authority
from tests.conftest import Held
from tests.cores import clients_on_another, gunicorn_on_a_core
from tests.server import Answer, Client, Load, Server, gunicorn, serving

THREADS = 4
SECONDS = 60
ROUNDS = 4
"""In which the slow clients come and go; each is longer than the server bears any of them."""
PAUSE_SECONDS = 0.5
"""Between two bytes of a slow client."""
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1000
BODY = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b" " * 1000
ROWS = b'{"instances": [' + b"1.5," * 60_000 + b"1.5]}"
LARGE = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(ROWS) + ROWS


class SlowClients:
    """So many clients of one kind, until they are told to stop; one that the server has sent away comes again."""

    def __init__(self, server: Server, count: int, connect: Callable[[Server], socket.socket], data: bytes) -> None:
        """Each sends `data` a byte at a time; or all of it at once and then reads a byte at a time, if it is LARGE."""
        self._connect = lambda: connect(server)
        self._data = data
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.all_are_there = threading.Event()

    def __enter__(self) -> "SlowClients":
        self._thread.start()
        assert self.all_are_there.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        clients: dict[int, tuple[socket.socket, int]] = {}
        while not self._stop.is_set():
            for number in range(self._count):
                if number not in clients:
                    clients[number] = (self._connect(), 0)
                client, sent = clients[number]
                try:
                    clients[number] = (client, self._go_on(client, sent))
                except OSError:
                    clients.pop(number)[0].close()
            self.all_are_there.set()
            self._stop.wait(PAUSE_SECONDS)
        for client, _ in clients.values():
            client.close()

    def _go_on(self, client: socket.socket, sent: int) -> int:
        """Send, or read, a byte more; OSError when the server has ended the connection."""
        if self._data is LARGE:
            if not sent:
                client.sendall(self._data)
            elif not client.recv(1):
                raise ConnectionError
            return 1
        client.sendall(self._data[sent : sent + 1])
        return sent + 1


def plainly(server: Server) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(("127.0.0.1", server.port))
    return client


HELLO = bytes.fromhex("16030100c2010000be0303") + bytes(200)
"""The beginning of a TLS handshake."""

KINDS: dict[str, bytes] = {"heads": HEAD, "bodies": BODY, "readers": LARGE}
TLS_KINDS = {"TLS handshakes": HELLO}


class Health:
    """Asks for the health of a server all the time, each time on a connection of its own."""

    def __init__(self, server: Server) -> None:
        self.seconds: list[float] = []
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Health":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            started = time.monotonic()
            with contextlib.suppress(OSError):
                self._server.ask("GET", "/healthz")
            self.seconds.append(time.monotonic() - started)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    saved_models.scale(models / "1", 2.0)
    return models


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.contextmanager
def started(log: Path, models: Path, authority: Authority | None = None) -> Iterator[Server]:
    settings: dict[str, object] = {"SERVING_MODEL_DIR": models, "WEB_CONCURRENCY": 1, "SERVING_THREADS": THREADS}
    tls = None
    if authority is not None:
        certificate, secret = authority.server()
        settings |= {"SERVING_TLS_CERT_FILE": certificate, "SERVING_TLS_KEY_FILE": secret}
        tls = authority.client()
    with serving(log, gunicorn_on_a_core(), tls=tls, **settings) as server:
        yield server


def is_right(value: float, answer: Answer) -> str:
    return "" if answer.status == 200 and answer.json == {"predictions": [2 * value]} else repr(answer)


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("slow") / "log", models) as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_take_no_thread(server: Server, kind: str) -> None:
    """They all stay while others are answered."""
    with SlowClients(server, 2 * THREADS, plainly, KINDS[kind]):
        client = server.client()
        for number in range(20):
            assert is_right(number, client.predict("model", instances=[number])) == ""
        assert server.ask("GET", "/healthz").status == 200
        client.close()


@pytest.mark.faults
@pytest.mark.parametrize("kinds", [KINDS, TLS_KINDS], ids=["plain", "TLS"])
def test_slow_clients_hold_up_nobody(
    kinds: dict[str, bytes], models: Path, authority: Authority, tmp_path: Path, held: Held
) -> None:
    """They are compared in turns with a server that never sees them, since the times of a busy machine change."""
    tls = authority if kinds is TLS_KINDS else None
    without = beside = 0.0
    seconds: list[float] = []
    with (
        clients_on_another(),
        started(tmp_path / "without", models, tls) as other,
        started(tmp_path / "beside", models, tls) as server,
    ):
        for each in (other, server):
            goodput(each, 2)  # everything is warm then
        for _ in range(ROUNDS):
            with Health(other):
                without += goodput(other, SECONDS / ROUNDS / 2) / ROUNDS
            with contextlib.ExitStack() as slow, Health(server) as health:
                for data in kinds.values():
                    slow.enter_context(SlowClients(server, 2 * THREADS, plainly, data))
                beside += goodput(server, SECONDS / ROUNDS) / ROUNDS
            seconds += health.seconds
    p99 = sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1]
    held(
        f"{2 * THREADS} clients each with slow {', '.join(kinds)} for {SECONDS} s",
        "/healthz p99 < 1 s, goodput >= 90 %",
        f"p99 {1000 * p99:.0f} ms, goodput {beside:.0f}/s, without them {without:.0f}/s ({beside / without:.0%})",
    )
    assert p99 < 1
    assert beside >= 0.9 * without


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["heads", "bodies"])
def test_under_gthread_they_do(kind: str, models: Path, tmp_path: Path, held: Held) -> None:
    """What shows that the test above can fail."""
    command = gunicorn("--worker-class", "gthread", "--threads", str(THREADS), "--workers", "1")
    with (
        serving(tmp_path / "log", command, SERVING_MODEL_DIR=models, SERVING_THREADS=THREADS) as server,
        SlowClients(server, 2 * THREADS, plainly, KINDS[kind]),
    ):
        client, started = Client(server.port, timeout=5), time.monotonic()
        with contextlib.suppress(OSError):
            client.get("/healthz")
        seconds = time.monotonic() - started
        client.close()
    held(f"{2 * THREADS} slow {kind} under gthread", "the control: /healthz does not answer", f"{seconds:.1f} s")
    assert seconds > 1


def goodput(server: Server, seconds: float) -> float:
    """Right answers a second for two clients."""
    with Load(server, "model", clients=2, check=is_right) as load:
        time.sleep(seconds)
    assert load.wrong == []
    return load.answered / seconds
