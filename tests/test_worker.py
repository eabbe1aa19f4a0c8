"""The worker under gunicorn, with an application that takes no time to load."""

import asyncio
import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import listeners
from serving.listeners import MAX_WORKERS, NO_WORKER, Listeners, another_has_fewer, connections, forget
from tests.server import ROOT, Server, environment, free_port, serving, wait_for

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
GRACEFUL_SECONDS = 8
BEFORE_DEFAULTS_SECONDS = 4.0
"""The times by default are longer, those of `strict` shorter."""

CONFIG = f"""
import os
import time

bind = "127.0.0.1:" + os.environ["PORT"]
worker_class = "serving.worker.LoopWorker"
control_socket_disable = True
graceful_timeout = {GRACEFUL_SECONDS}
workers = 1
worker_connections = 20
indexes = iter(range(1000))

def pre_fork(server, worker):
    worker.index = next(indexes)

def post_fork(server, worker):
    os.environ["SERVING_WORKER_INDEX"] = str(worker.index)

def post_worker_init(worker):
    while worker.alive and os.environ.get("LOADING") and not time.sleep(0.02):
        open(os.environ["LOADING"], "w").close()

def child_exit(server, worker):
    from serving.listeners import forget
    forget(worker.index)
"""

APP = """
import os
import resource
import time
import types

from serving.models.runs import Run, VersionPath

noted = []
running = []

def app(environ, start_response):
    path, argument = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/fails":
        raise RuntimeError("on purpose")
    if path in ("/slow", "/blocks"):
        print(path, flush=True)
        time.sleep(float(argument))
    if path == "/stuck":
        running.append(Run(VersionPath("m", 1, "/m/1"), 0.0))
    if path == "/files":
        limit = 1000 if argument == "many" else len(os.listdir("/proc/self/fd")) + 2
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(noted).encode()]

def note_refusal(environ, status):
    path, sent_id = environ["RAW_URI"].partition("?")[0], environ.get("HTTP_X_REQUEST_ID", "")
    noted.append((environ["REQUEST_METHOD"], path, sent_id, status))
    return sent_id or "new"

app.extensions = {
    "lane": lambda target: "",
    "runs_in_loop": lambda lane: True,
    "leave": noted.append,
    "runs": types.SimpleNamespace(now=lambda: list(running)),
    "is_quick": lambda method, target, size, content_type: not target.startswith(b"/slow"),
    "note_refusal": note_refusal,
}
"""


def command(folder: Path) -> list[str]:
    (folder / "conf.py").write_text(CONFIG)
    (folder / "plain.py").write_text(APP)
    return [sys.executable, "-m", "gunicorn", "-c", str(folder / "conf.py"), "--pythonpath", str(folder), "plain:app"]


@contextlib.contextmanager
def plain(folder: Path, **settings: Any) -> Iterator[Server]:
    with serving(folder / "log", command(folder), WEB_CONCURRENCY=1, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that leave it as it was."""
    with plain(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With other limits than the default ones."""
    settings = {
        "SERVING_MAX_REQUEST_LINE_BYTES": 64,
        "SERVING_MAX_HEADERS": 4,
        "SERVING_MAX_HEADER_BYTES": 64,
        "SERVING_MAX_HEAD_BYTES": 160,
        "SERVING_HEAD_SECONDS": 0.5,
        "SERVING_BODY_SECONDS": 0.5,
        "SERVING_BODY_SECONDS_PER_MEBIBYTE": 0,
        "SERVING_KEEP_ALIVE_SECONDS": 1,
    }
    with plain(tmp_path_factory.mktemp("strict"), **settings) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def head(*headers: bytes, first: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"Host: x", *headers)) + b"\r\n\r\n"


def status_of(server: Server, sent: bytes) -> bytes:
    with connect(server) as connection:
        connection.settimeout(BEFORE_DEFAULTS_SECONDS)
        connection.sendall(sent)
        return connection.recv(1000).split()[1]


class TestAnswers:
    def test_a_client_that_sends_a_body_too_large_reads_why(self, server: Server) -> None:
        size = 30 << 20
        with connect(server) as connection:
            connection.sendall(
                b"POST /p HTTP/1.1\r\nHost: x\r\nX-Request-Id: large\r\nContent-Length: %d\r\n\r\n" % size
            )
            connection.sendall(bytes(size))
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"X-Request-Id: large\r\n" in answer
        assert "error" in json.loads(answer.partition(b"\r\n\r\n")[2])
        assert b"('POST', '/p', 'large', 413)" in server.ask("GET", "/").body

    def test_a_failure_of_the_application_carries_the_id_of_the_request(self, server: Server) -> None:
        answer = server.ask("GET", "/fails?x=1", X_Request_Id="fail")
        assert answer.status == 500
        assert answer.headers["x-request-id"] == "fail"
        assert b"('GET', '/fails', 'fail', 500)" in server.ask("GET", "/").body


class TestLimits:
    """Those that the settings give; what each of them means is in tests/test_connection.py."""

    @pytest.mark.parametrize(("size", "status"), [(63, b"200"), (64, b"200"), (65, b"414")])
    def test_of_the_request_line(self, strict: Server, size: int, status: bytes) -> None:
        assert status_of(strict, head(first=b"GET /%s HTTP/1.1" % (b"a" * (size - 14)))) == status

    @pytest.mark.parametrize(("count", "status"), [(3, b"200"), (4, b"200"), (5, b"431")])
    def test_of_the_number_of_headers(self, strict: Server, count: int, status: bytes) -> None:
        assert status_of(strict, head(*[b"a: b"] * (count - 1))) == status

    @pytest.mark.parametrize(("size", "status"), [(63, b"200"), (64, b"200"), (65, b"431")])
    def test_of_a_header(self, strict: Server, size: int, status: bytes) -> None:
        assert status_of(strict, head(b"a: " + b"b" * (size - 1))) == status

    @pytest.mark.parametrize(("size", "status"), [(159, b"200"), (160, b"200"), (161, b"431")])
    def test_of_the_whole_head(self, strict: Server, size: int, status: bytes) -> None:
        headers = [b"a: " + b"b" * 50, b"c: " + b"d" * 40, b"e: "]
        assert status_of(strict, head(*headers[:2], headers[2] + b"f" * (size - len(head(*headers))))) == status

    @pytest.mark.parametrize("begun", [GET[:-2], head(b"Content-Length: 2") + b"1"], ids=["head", "body"])
    def test_of_the_time_for_a_request(self, strict: Server, begun: bytes) -> None:
        assert status_of(strict, begun) == b"408"

    def test_of_the_time_between_two_requests(self, strict: Server) -> None:
        with connect(strict) as connection:
            connection.settimeout(BEFORE_DEFAULTS_SECONDS)
            connection.sendall(GET)
            assert read_all(connection).startswith(b"HTTP/1.1 200 ")


class TestAccepting:
    def test_a_full_worker_accepts_again_when_a_connection_ends(self, server: Server) -> None:
        with contextlib.ExitStack() as connections:
            others = [connections.enter_context(connect(server)) for _ in range(20)]
            waiting = connections.enter_context(connect(server))
            waiting.sendall(GET)
            assert not select.select([waiting], [], [], 0.5)[0]
            others[0].close()
            assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")

    def test_a_worker_without_file_descriptors_says_so_once_and_accepts_again(self, server: Server) -> None:
        with contextlib.ExitStack() as connections:
            control = connections.enter_context(contextlib.closing(server.client()))
            control.get("/files?few")
            others = [connections.enter_context(connect(server)) for _ in range(5)]
            for other in others:
                other.sendall(GET)
            assert not select.select([others[-1]], [], [], 0.5)[0]
            control.get("/files?many")
            for other in others:
                assert other.recv(100).startswith(b"HTTP/1.1 200 ")
        assert server.log.read_text().count("cannot accept connections: [Errno 24]") == 1

    def test_connections_that_come_at_once_are_accepted_in_a_few_turns(self) -> None:
        turns, _ = accept(24)
        assert turns < 8

    def test_they_are_shared_with_a_worker_that_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listeners, "YIELD_SECONDS", 0.2)
        connections[1] = 0
        try:
            turns, _ = accept(2)
        finally:
            connections[1] = NO_WORKER
        assert turns > 8  # the second is left to the other for a moment

    def test_other_workers_see_those_in_the_making(self) -> None:
        assert accept(3)[1] == 3

    @pytest.mark.parametrize(
        ("own", "counts", "waits"),
        [(2, [2, 1], True), (1, [1, 1], False), (0, [0, 3], False), (5, [NO_WORKER, 5, NO_WORKER], False)],
    )
    def test_a_connection_is_left_to_a_worker_that_has_fewer(self, own: int, counts: list[int], waits: bool) -> None:
        assert another_has_fewer(own, counts) is waits

    def test_nobody_waits_for_a_worker_that_has_ended(self) -> None:
        connections[MAX_WORKERS - 1] = 0
        forget(MAX_WORKERS - 1)
        assert not another_has_fewer(5, [connections[MAX_WORKERS - 1]])


def accept(clients: int) -> tuple[int, int]:
    """Have worker 0 of 2 accept as many connections as wait, none of which is ever made.

    The turns of the event loop until it has, and how many connections others then see that it has.
    """
    accepted = []

    async def serve(client: socket.socket) -> None:
        accepted.append(client)
        await asyncio.Event().wait()

    async def turns() -> tuple[int, int]:
        its = Listeners([listener], 0, 2, 100, serve)
        its.start()
        number = 0
        while len(accepted) < clients:
            await asyncio.sleep(0)
            number += 1
        seen = connections[0]
        its.stop()
        return number, seen

    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=clients))
        for _ in range(clients):
            opened.enter_context(socket.create_connection(listener.getsockname()))
        shown = asyncio.run(asyncio.wait_for(turns(), 30))
        for client in accepted:
            client.close()
    return shown


class TestQueue:
    def test_requests_beyond_a_full_queue_are_refused_at_once_and_may_be_sent_again(self, tmp_path: Path) -> None:
        settings = {"WEB_CONCURRENCY": 1, "SERVING_THREADS": 1, "SERVING_MAX_QUEUED_REQUESTS": 2}
        slow = GET.replace(b"/", b"/slow?2", 1)
        with serving(tmp_path / "log", command(tmp_path), **settings) as server, contextlib.ExitStack() as connections:
            first, *others = [connections.enter_context(connect(server)) for _ in range(6)]
            first.sendall(slow)
            wait_for(lambda: "slow" in server.log.read_text(), "the only thread is busy")
            for other in others:
                other.sendall(slow.replace(b"?2", b"?0"))
            answers = {other: other.recv(1000) for other in others}
            refused = {other: answer for other, answer in answers.items() if b"503" in answer[:12]}
            assert len(refused) == 3
            for other, answer in refused.items():
                assert b"\r\nRetry-After: 1\r\n" in answer
                assert b'{"error": "Too many requests are waiting already; try again later"}' in answer
                other.sendall(GET)
                assert other.recv(1000).startswith(b"HTTP/1.1 200")
            assert first.recv(1000).startswith(b"HTTP/1.1 200")


class TestDeadlines:
    def test_a_request_is_answered_when_its_time_is_over_whatever_its_thread_does(self, tmp_path: Path) -> None:
        settings = {"WEB_CONCURRENCY": 1, "SERVING_THREADS": 1, "SERVING_REQUEST_TIMEOUT_SECONDS": 1}
        with serving(tmp_path / "log", command(tmp_path), **settings) as server, contextlib.ExitStack() as connections:
            busy, waiting = [connections.enter_context(connect(server)) for _ in range(2)]
            busy.sendall(GET.replace(b"/", b"/slow?2", 1))
            wait_for(lambda: "slow" in server.log.read_text(), "the only thread is busy")
            hurried = b"X-Request-Timeout-Ms: 200\r\n\r\n"
            waiting.sendall(GET.replace(b"/", b"/slow?0", 1).replace(b"\r\n\r\n", b"\r\n" + hurried))
            answers = [waiting.recv(1000), busy.recv(1000)]
            for answer in answers:
                assert answer.startswith(b"HTTP/1.1 504 ")
                assert b'{"error": "Timed out waiting for notification: the time allowed' in answer
            busy.sendall(GET)  # on the same connection; what the thread makes later is not taken for its answer
            assert busy.recv(1000).endswith(b"504), ('GET', '/slow', '', 504)]")
            assert read_all(busy) == b""  # until it is closed as idle, after the thread is done


class TestStopping:
    """Each ends well before gunicorn's parent would kill the worker, GRACEFUL_SECONDS after the signal."""

    def test_a_worker_that_is_told_to_stop_while_models_load_does(self, tmp_path: Path) -> None:
        loading = tmp_path / "loading"
        settings = environment(PORT=free_port(), WEB_CONCURRENCY=1, LOADING=loading)
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command(tmp_path), cwd=ROOT, env=settings, stdout=log, stderr=log)
        wait_for(loading.exists, "models are loading")
        assert seconds_to_stop(process, signal.SIGTERM) < GRACEFUL_SECONDS - 2

    def test_connections_that_wait_to_be_accepted_are_answered(self, tmp_path: Path) -> None:
        with plain(tmp_path) as server, contextlib.ExitStack() as connections:
            connections.enter_context(connect(server)).sendall(GET.replace(b"/", b"/blocks?1", 1))
            wait_for(lambda: "blocks" in server.log.read_text(), "the worker is busy")
            others = [connections.enter_context(connect(server)) for _ in range(10)]
            for other in others:
                other.sendall(GET)
            server.process.send_signal(signal.SIGTERM)
            assert [other.recv(12) for other in others] == [b"HTTP/1.1 200"] * 10

    def test_a_request_that_does_not_arrive_does_not_hold_up_the_end(self, tmp_path: Path) -> None:
        with plain(tmp_path) as server, connect(server) as connection:
            connection.sendall(GET[:-1])
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            assert read_all(connection).startswith(b"HTTP/1.1 408 ")

    def test_an_interrupt_does_not_wait_for_requests(self, tmp_path: Path) -> None:
        with plain(tmp_path) as server, connect(server) as connection:
            connection.sendall(GET.replace(b"/", b"/slow?60", 1))
            wait_for(lambda: "slow" in server.log.read_text(), "the request has begun")
            assert seconds_to_stop(server.process, signal.SIGINT) < GRACEFUL_SECONDS - 2
            assert "Traceback" not in server.log.read_text()


class TestStuck:
    """A run that the watchdog finds too long."""

    def test_its_worker_is_replaced_and_it_is_no_fault_of_what_ran(self, tmp_path: Path) -> None:
        (tmp_path / "run" / "runs").mkdir(parents=True)
        with plain(tmp_path, SERVING_RUNTIME_DIR=tmp_path / "run", SERVING_REQUEST_TIMEOUT_SECONDS=0.1) as server:
            (before,) = server.workers()
            assert server.ask("GET", "/stuck").status == 200
            wait_for(lambda: server.workers() not in ([], [before]), "another worker")
        assert "has not ended for" in server.log.read_text()
        assert (tmp_path / "run" / "runs" / f"{before}.crash").read_bytes() == b""

    def test_a_worker_that_cannot_note_why_it_ends_serves(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "runs").symlink_to("/proc")  # where nobody can make a file
        with plain(tmp_path, SERVING_RUNTIME_DIR=tmp_path / "run") as server:
            assert server.ask("GET", "/").status == 200
        assert "that cannot be noted" in server.log.read_text()


def seconds_to_stop(process: "subprocess.Popen[bytes]", with_signal: int) -> float:
    started = time.monotonic()
    process.send_signal(with_signal)
    process.wait(timeout=60)
    return time.monotonic() - started
