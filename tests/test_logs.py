"""Log lines."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

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


def test_who_asked_is_in_the_line_and_cannot_forge_another() -> None:
    caller = "jwt:alice status=200\n2026-11-22T11:30:00.250Z 200 \x1b[31m"
    entry = ENTRY._replace(caller=caller, path="/v1/\n/m")
    assert json.loads(written("json", entry))["caller"] == caller
    assert written("json", entry).count("\n") == 1
    text = written("text", ENTRY._replace(caller=caller))
    assert text.endswith(" id=abc caller=jwt:alice%20status%3D200%0A2026-11-22T11:30:00.250Z%20200%20%1B%5B31m\n")


FORGED = "\r\n2026-11-22T11:30:00.250Z 200 GET /x model=m\x1b[31m\x00\u2028\x85\u202e\ud800"


def test_nothing_of_a_request_forges_a_line_a_field_or_a_colour() -> None:
    entry = ENTRY._replace(path="/v1/" + FORGED, method="GET" + FORGED, model="m" + FORGED, request_id="a" + FORGED)
    for line in (written("text", entry), written("json", entry)):
        assert line.isascii()
        assert line.rstrip("\n").isprintable()
        assert len(line.splitlines()) == 1
    assert len(written("text", entry).split()) == len(written("text", ENTRY).split())
    assert json.loads(written("json", entry))["model"] == "m" + FORGED


def test_of_a_long_path_only_the_beginning_is_written() -> None:
    entry = ENTRY._replace(path="/" + "a" * 5000)
    assert all("a" * 1023 in line and len(line) < 1400 for line in (written("text", entry), written("json", entry)))


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_an_error_says_forges_a_record(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form)
    log = logging.getLogger("serving.test")
    said = "it said " + FORGED.replace("\ud800", "")
    log.error(said, exc_info=ValueError(said))
    log.info("the next")
    lines = capsys.readouterr().err.splitlines()
    begun = [line for line in lines if not line.startswith("    ")]
    assert len(begun) == 2
    assert all(line.isprintable() for line in lines)
    assert "the next" in begun[1]


def test_lines_go_to_standard_output_and_for_auditors_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    for _ in range(2):
        for log in logs.request_logs(True, "text", file):
            log.add(ENTRY)
            log.close()
    assert capsys.readouterr().out.count(" 200 POST ") == 2
    assert [json.loads(line)["model"] for line in file.read_text().splitlines()] == ["m", "m"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert logs.request_logs(False, "text", None) == ()


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
