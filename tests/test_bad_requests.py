"""Requests that are wrong, over a real socket to a real server: each is refused as it should be, the next is served."""

import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests import saved_models
from tests.access.keys import key, write
from tests.bad_requests import BODY, PREDICT, Bad, post, rows
from tests.server import Server, serving

KEY, ENTRY = key("fraud", "fraud-*", "predict,metadata")
ROWS = list(rows(KEY))
GOOD = post(PREDICT, BODY, KEY)
TELLS = re.compile(
    rb"Traceback|File \"|/(?:home|usr|work|tmp)/|site-packages|[Gg]unicorn|[Ww]erkzeug|[Pp]ython|/\d+\.\d+\.\d+"
)
"""What an answer must not say."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bad")
    for name in ("fraud-a", "secret"):
        saved_models.scale(folder / "models" / name / "1", 2.0)
    saved_models.conv(folder / "models" / "fraud-image" / "1")
    settings = {"SERVING_MODEL_DIR": folder / "models", "SERVING_KEYS_FILE": write(folder / "keys.json", ENTRY)}
    with serving(folder / "log", WEB_CONCURRENCY=1, **settings) as server:
        yield server


class Wire:
    """One connection, byte by byte."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self._rest = b""

    def send(self, data: bytes, is_all: bool) -> None:
        try:
            self._socket.sendall(data)
            if is_all:
                self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has closed the connection already, and its answer may still be read

    def answer(self, is_head: bool) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers and body."""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(each.lower().split(": ", 1) for each in lines)
        size = 0 if is_head else int(headers["content-length"])
        while len(self._rest) < size:
            self._receive()
        body, self._rest = self._rest[:size], self._rest[size:]
        return int(line.split()[1]), headers, body

    def is_at_end(self) -> bool:
        """Whether nothing more comes, and the connection is closed."""
        return not self._rest and not self._socket.recv(1)

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        assert data, f"the connection ended after {self._rest!r}"
        self._rest += data


def test_there_are_enough_and_each_has_its_name() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) > 400


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_bad_request_is_answered_and_the_next_is_served(server: Server, row: Bad) -> None:
    wire, is_head = Wire(server), row.sent.startswith(b"HEAD ")
    try:
        wire.send(row.sent, is_all=408 in row.statuses)
        status, headers, body = wire.answer(is_head)
        assert status in row.statuses, body
        if status == 200:  # what follows the request is what is wrong
            status, headers, body = wire.answer(is_head=False)
            assert status == 400
        check(headers, body, is_head)
        if row.goes_on:
            wire.send(GOOD, is_all=False)
            assert wire.answer(is_head=False)[0] == 200
        elif row.goes_on is False:
            assert headers["connection"] == "close"
            assert wire.is_at_end()
    finally:
        wire.close()
    after = Wire(server)
    after.send(GOOD, is_all=False)
    assert after.answer(is_head=False)[2] == b'{"predictions":[4.0]}'
    after.close()


def check(headers: dict[str, str], body: bytes, is_head: bool) -> None:
    """An error is `{"error": "..."}`, short, and tells nothing of the server."""
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert len(headers["x-request-id"]) == 32
    assert "server" not in headers
    if not is_head:
        assert len(body) <= 4096
        assert not TELLS.search(body), body
        assert list(json.loads(body)) == ["error"]


def test_no_row_was_the_servers_fault(server: Server) -> None:
    """Run after the others, whose answers it could not tell from those of a server that had failed and recovered."""
    log = server.log.read_text()
    assert "Traceback" not in log
    assert log.count("Booting worker") == 1
