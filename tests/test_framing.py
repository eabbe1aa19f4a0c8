"""The head of a request, where the parser leaves it to us what to make of it."""

import pytest

from serving.answers import Refused
from serving.framing import check_head, origin_form

HOST = (b"host", b"localhost")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:5000",
        "localhost:",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:5000",
        "a-b.example",
        "model_server",
        "a%20b",
    ],
)
def test_a_host_may_be_a_name_or_an_address_and_have_a_port(host: str) -> None:
    assert check_head("1.1", [(b"host", host.encode())]) == {b"host": host.encode()}


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "a,b@c", "user@a", "a:b", "a:1:2", "[::1", "::1", "[x]", "a\\b", "é"]
)
def test_anything_else_is_no_host(host: str) -> None:
    refused("The header Host is not a host", headers=[(b"host", host.encode())])


def test_a_request_of_http_1_1_has_a_host_and_one_of_1_0_may() -> None:
    refused("The header Host is missing", headers=[])
    assert check_head("1.0", []) == {}


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2"])
def test_other_versions_are_not_spoken(version: str) -> None:
    refused("send HTTP/1.1", version)


@pytest.mark.parametrize(
    "name",
    ["host", "content-length", "transfer-encoding", "expect", "inference-header-content-length"],
)
def test_what_could_be_read_as_either_may_be_sent_once(name: str) -> None:
    refused(
        f"The header {name.title()} was sent more than once",
        headers=[HOST, (name.encode(), b"5"), (name.encode(), b"5")],
    )


def test_other_headers_may_be_sent_twice() -> None:
    gzip = (b"content-encoding", b"gzip")
    assert check_head("1.1", [HOST, gzip, gzip, (b"a", b"b"), (b"a", b"b")]) == dict([HOST, gzip])


@pytest.mark.parametrize(
    ("version", "coding"),
    [("1.1", "gzip, chunked"), ("1.1", "chunked, chunked"), ("1.1", "identity"), ("1.0", "chunked")],
)
def test_a_body_is_chunked_or_not_and_nothing_else(version: str, coding: str) -> None:
    refused(
        "The header Transfer-Encoding may only be chunked", version, [HOST, (b"transfer-encoding", coding.encode())]
    )


def test_chunked_may_be_written_in_any_case() -> None:
    assert check_head("1.1", [HOST, (b"transfer-encoding", b"Chunked")])[b"transfer-encoding"] == b"Chunked"


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"/", b"/", None),
        (b"/v1/models?x=http://y", b"/v1/models?x=http://y", None),
        (b"//evil.example/x", b"//evil.example/x", None),
        (b"http://localhost/v1/models", b"/v1/models", b"localhost"),
        (b"HTTPS://[::1]:5000/a?b", b"/a?b", b"[::1]:5000"),
        (b"http://localhost", b"/", b"localhost"),
        (b"http://localhost?a", b"/?a", b"localhost"),
    ],
)
def test_a_target_is_a_path_or_an_address(target: bytes, path: bytes, host: bytes | None) -> None:
    assert origin_form("GET", target) == (path, host)


@pytest.mark.parametrize(
    "target", [b"*", b"", b"ftp://localhost/", b"http://u:p@localhost/", b"http:///x", b"/a#b", b"localhost:80"]
)
def test_any_other_target_is_refused(target: bytes) -> None:
    with pytest.raises(Refused):
        origin_form("GET", target)


def test_the_server_as_a_whole_may_be_asked_for_its_options() -> None:
    assert origin_form("OPTIONS", b"*") == (b"*", None)


def refused(message: str, version: str = "1.1", headers: list[tuple[bytes, bytes]] | None = None) -> None:
    with pytest.raises(Refused, match=message) as caught:
        check_head(version, [HOST] if headers is None else headers)
    assert caught.value.status.value == 400
