"""Answers as they travel: whole, in HTTP/1.1; and those that a server gives without the application."""

import json
import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

Written = bytes | Sequence[bytes | memoryview]
"""An answer as it travels, in one piece, or a large one in several, so that it need not be copied."""

RETRY_SECONDS = 1
"""After how long a client may try again that was refused because there is too much to do."""


class Refused(Exception):
    """A request that is refused before it reaches the application."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def refusal(refused: Refused, request_id: str, is_head: bool = False, keep_alive: bool = False) -> bytes:
    """The answer to a request that is refused; the connection ends with it unless it is kept alive."""
    body = json.dumps({"error": refused.message}).encode()
    head = (
        f"HTTP/1.1 {refused.status.value} {refused.status.phrase}\r\nContent-Type: application/json\r\n"
        f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\nDate: {http_date()}\r\n"
    )
    if refused.status is HTTPStatus.SERVICE_UNAVAILABLE:
        head += f"Retry-After: {RETRY_SECONDS}\r\n"
    head += f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    return head.encode() + (b"" if is_head else body)


def size_of(answer: Written) -> int:
    """How many bytes an answer has."""
    return len(answer) if isinstance(answer, bytes) else sum(map(len, answer))


def http_date() -> str:
    """The time as the header Date has it."""
    return _date(int(time.time()))


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
