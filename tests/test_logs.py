"""Log lines."""

import json
import logging

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
    }


def test_no_line_is_lost_at_the_end() -> None:
    assert written("text", *[ENTRY] * 1000).count("\n") == 1000


def test_closing_twice_is_safe() -> None:
    log = AccessLog("text", lambda line: None)
    log.close()
    log.close()


def test_server_lines_can_be_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logging.getLogger("serving.models").warning("model %s is odd", "m")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("WARNING", "model m is odd")
