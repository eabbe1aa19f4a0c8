"""Log lines: those of the server on standard error, one for each request on standard output."""

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

log = logging.getLogger(__name__)

TEXT = "text"
JSON = "json"
MAX_WAITING = 10_000
"""Lines that wait to be written, before more are dropped: some megabytes, and a second of many requests."""


MAX_WORD = 1024
"""What is written at most of a path: strangers choose it, and a line of each of their requests goes to the disk."""
_SAFE = "!\"#$%&'()*+,/:;<=>?@[\\]^_`{|}~-."

WRITE_SECONDS = 0.1
"""How often the lines of requests are written."""


class Access(NamedTuple):
    """One answered request. `when` is in seconds since the epoch; what is not known of it is ""."""

    when: float
    method: str
    path: str
    model: str
    version: str
    status: int
    milliseconds: float
    request_id: str
    caller: str = ""
    peer: str = ""


def write_out(text: str) -> None:
    """Write to standard output."""
    sys.stdout.write(text)
    sys.stdout.flush()


def append_to(path: Path) -> Callable[[str], None]:
    """Write to the end of a file that several processes write to, opened each time, so that it may be moved away."""

    def write(text: str) -> None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(text.encode())
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)

    return write


class AccessLog:
    """Writes a line for each request, in a thread of its own, so that no request waits for the log.

    `add` may be called from any thread. `close` writes what is left; twice is safe. Lines that cannot be written are
    lost: that is said once when it begins, and how many they were when writing works again.
    """

    def __init__(self, form: str, write: Callable[[str], object] = write_out) -> None:
        self._format = _as_json if form == JSON else _as_text
        self._write = write
        self._entries: deque[Access] = deque()
        self._closing = threading.Event()
        self._dropped = 0  # by `add`; only ever grows, and threads that add at once may count one too few
        self._unwritten = 0
        self._reported = 0
        self._is_broken = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def add(self, entry: Access) -> None:
        """Have a line written soon, unless too many wait already."""
        if len(self._entries) < MAX_WAITING:
            self._entries.append(entry)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        # Not woken by `add`: a thread that wakes for each request takes the interpreter from it.
        while not self._closing.wait(WRITE_SECONDS):
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        lines = [self._format(self._entries.popleft()) for _ in range(len(self._entries))]
        if lines:
            self._write_out(lines)

    def _write_out(self, lines: list[str]) -> None:
        try:
            self._write("".join(lines))
        except (OSError, ValueError) as error:  # full, or closed
            self._unwritten += len(lines)
            if not self._is_broken:
                log.error("the lines for requests cannot be written and are lost: %s", error)
            self._is_broken = True
            return
        self._is_broken = False
        lost = self._dropped + self._unwritten - self._reported
        if lost:
            self._reported += lost
            log.warning("lines for requests can be written again; %d were lost", lost)


def request_logs(access: bool, form: str, audit_file: Path | None) -> tuple[AccessLog, ...]:
    """Where requests are noted: on standard output in the given form, and for auditors in a file."""
    on_output = [AccessLog(form)] if access else []
    in_file = [AccessLog(JSON, append_to(audit_file))] if audit_file else []
    return (*on_output, *in_file)


def configure(form: str) -> None:
    """Send the log records of the server and of gunicorn to standard error in the given form."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if form == JSON else _TextFormatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("serving", "gunicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


class _TextFormatter(logging.Formatter):
    """What a record says goes on in lines that are indented, so that none of it passes for another record."""

    def format(self, record: logging.LogRecord) -> str:
        first, *others = super().format(record).split("\n")
        return "\n    ".join([_printable(first), *map(_printable, others)])


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _utc(record.created), "level": record.levelname, "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _utc(when: float) -> str:
    return f"{_second(int(when))}.{int(when % 1 * 1000):03d}Z"


@lru_cache(maxsize=1)
def _second(when: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))


def _as_text(entry: Access) -> str:
    return (
        f"{_utc(entry.when)} {entry.status} {_word(entry.method)} {_word(entry.path)} "
        f"model={_word(entry.model) or '-'} version={entry.version or '-'} "
        f"ms={entry.milliseconds:.2f} id={_word(entry.request_id)}"
        f"{' caller=' + quote(entry.caller, safe=':/@.') if entry.caller else ''}\n"
    )


def _word(text: str) -> str:
    """A text as one word of a line: no space, no end of a line, nothing that a terminal obeys, and not too long."""
    if not (text.isascii() and text.isprintable() and " " not in text):
        text = quote(text, safe=_SAFE, errors="replace")
    return text if len(text) <= MAX_WORD else text[:MAX_WORD] + "..."


def _printable(line: str) -> str:
    """A line without what a terminal obeys or what some program takes for the end of a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _as_json(entry: Access) -> str:
    entry = entry._replace(path=entry.path[:MAX_WORD])
    fields = entry._asdict() | {"when": _utc(entry.when), "milliseconds": round(entry.milliseconds, 3)}
    return json.dumps({"time": fields.pop("when"), **fields}) + "\n"
