"""Requests as WSGI environs, and the answers of applications as bytes."""

from typing import Any

from serving.request import Request
from serving.wsgi import call, environ_of, environ_of_refused
from tests.wire import FakeFront, connect


def environ_from(data: bytes) -> dict[str, Any]:
    front = FakeFront()
    connection, _ = connect(front)
    connection.data_received(data)
    return environ_of(front.requests[0], connection, {"wsgi.url_scheme": "http"})


def test_the_environ_says_what_was_sent() -> None:
    environ = environ_from(
        b"POST /a%20b/%C3%A9?q=1%2B HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
        b"X-Two: 1\r\nX-Two: 2\r\n\r\nhello"
    )
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["PATH_INFO"] == "/a b/é".encode().decode("latin-1")
    assert environ["QUERY_STRING"] == "q=1%2B"
    assert environ["RAW_URI"] == "/a%20b/%C3%A9?q=1%2B"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "5"
    assert environ["HTTP_X_TWO"] == "1,2"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["wsgi.input"].read() == b"hello"


def test_what_is_between_the_client_and_the_server_only_is_not_handed_on() -> None:
    environ = environ_from(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nKeep: 1\r\n\r\n")
    assert {key for key in environ if key.startswith("HTTP_")} == {"HTTP_HOST", "HTTP_KEEP"}


def test_a_header_with_an_underscore_cannot_pass_for_another() -> None:
    assert "HTTP_X_REQUEST_ID" not in environ_from(b"GET / HTTP/1.1\r\nHost: x\r\nX_Request_Id: forged\r\n\r\n")


def test_of_a_refused_request_is_known_what_has_come_of_it_and_from_where() -> None:
    nothing = environ_of_refused(Request(), "10.0.0.1")
    assert (nothing["REQUEST_METHOD"], nothing["RAW_URI"], nothing["REMOTE_ADDR"]) == ("", "", "10.0.0.1")
    request = Request(b"/p%20?q", "POST", headers=[(b"host", b"x"), (b"x-request-id", b"abc")])
    part = environ_of_refused(request, "")
    assert (part["REQUEST_METHOD"], part["RAW_URI"], part["HTTP_X_REQUEST_ID"]) == ("POST", "/p%20", "abc")


def test_an_answer_has_a_length_a_date_and_a_word_on_the_connection() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-One", "1")])
        return [b"he", b"llo"]

    head, _, body = call(application, {"REQUEST_METHOD": "GET"}, keep_alive=True).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 5\r\nDate: ")
    assert head.endswith(b"Connection: keep-alive")
    assert body == b"hello"


def test_an_answer_to_head_has_no_body() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    answer = call(application, {"REQUEST_METHOD": "HEAD"}, keep_alive=False)
    assert b"Content-Length: 5\r\n" in answer
    assert answer.endswith(b"Connection: close\r\n\r\n")


def test_a_large_answer_is_not_put_together() -> None:
    memory = memoryview(bytearray(100_000))

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"x", memory]

    answer = call(application, {"REQUEST_METHOD": "POST"}, keep_alive=True)
    assert not isinstance(answer, bytes)
    assert answer[2] is memory
    connection, transport = connect(FakeFront())
    connection.send(answer, keep_alive=True)
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert b"Content-Length: 100001" in head
    assert body == b"x" + bytes(100_000)
