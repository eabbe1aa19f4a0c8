"""Log lines."""

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from serving import logs
from serving.logs import Access, AccessLog

ENTRY = Access(1795347000.25, "POST", "/v1/models/m:predict", "m", "2", 200, 1.234, "abc")


def written(form: str, *entries: Access) -> str:
    lines: list[str] = []
    log = AccessLog(form, lines.append)
    for entry in entries:
        log.add(entry)
    log.close()
    return "".join(lines)


def test_a_request_is_a_readable_line() -> None:
    assert written("text", ENTRY) == (
        "2026-11-22T11:30:00.250Z 200 POST /v1/models/m:predict model=m version=2 ms=1.23 id=abc\n"
    )


def test_a_request_is_a_json_line() -> None:
    assert json.loads(written("json", ENTRY)) == {
        "time": "2026-11-22T11:30:00.250Z",
        "method": "POST",
        "path": "/v1/models/m:predict",
        "model": "m",
        "version": "2",
        "status": 200,
        "milliseconds": 1.234,
        "request_id": "abc",
        "caller": "",
        "peer": "",
    }


def test_no_line_is_lost_at_the_end() -> None:
    assert written("text", *[ENTRY] * 1000).count("\n") == 1000


def test_closing_twice_is_safe() -> None:
    log = AccessLog("text", lambda line: None)
    log.close()
    log.close()


class Output:
    """Standard output that can be full; it takes lines only while it is open, and says when it was asked to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.lines = 0
        self.asked = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()

    def __call__(self, text: str) -> None:
        self.asked.release()
        self.open.wait(10)
        if self.error is not None:
            raise self.error
        self.lines += text.count("\n")


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the server has said of its log."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("serving.logs")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_lines_that_cannot_be_written_are_lost_and_that_is_said_once(error: Exception, said: list[str]) -> None:
    output = Output(error)
    log = AccessLog("text", output)
    for _ in range(2):
        log.add(ENTRY)
        assert output.asked.acquire(timeout=10)
    output.open.clear()
    log.add(ENTRY)
    assert output.asked.acquire(timeout=10)  # so the second is over
    output.error = None
    output.open.set()
    log.close()
    assert output.lines == 1
    assert said == [
        f"the lines for requests cannot be written and are lost: {error}",
        "lines for requests can be written again; 2 were lost",
    ]


def test_no_more_lines_wait_than_memory_is_meant_for(
    said: list[str],
) -> None:
    output = Output()
    output.open.clear()
    log = AccessLog("text", output)
    log.add(ENTRY)
    assert output.asked.acquire(timeout=10)
    for _ in range(logs.MAX_WAITING + 5):
        log.add(ENTRY)
    output.open.set()
    log.close()
    assert output.lines == 1 + logs.MAX_WAITING
    assert said[-1] == "lines for requests can be written again; 5 were lost"


def test_server_lines_can_be_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logging.getLogger("serving.models").warning("model %s is odd", "m")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("WARNING", "model m is odd")
