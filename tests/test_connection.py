"""One connection: bytes in, bytes out, no network."""

import gc
import json
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from serving.connection import ANSWERS_IN_A_ROW, LINGER_BYTES, LINGER_SECONDS, Connection
from serving.request import FRAMING_BYTES, MEBI, UNCOUNTED_BYTES
from tests.wire import GET, POST, FakeFront, FakeTransport, connect


def answer_to(data: bytes, **limits: Any) -> FakeTransport:
    """What a connection does with these bytes."""
    front = FakeFront(**limits)
    connection, transport = connect(front)
    connection.data_received(data)
    front.go_on()
    return transport


def status_of(transport: FakeTransport) -> int:
    """The status of a refusal, which must be JSON and end the connection."""
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    assert b"X-Request-Id: the-id" in head
    assert json.loads(body)["error"]
    assert transport.half_closed
    return int(head.split()[1])


class TestRequests:
    def test_a_request_is_handed_on_whole(self) -> None:
        front = FakeFront()
        connection, transport = connect(front)
        for byte in POST[:-1]:
            connection.data_received(bytes([byte]))
        assert front.requests == []
        connection.data_received(POST[-1:])
        assert transport.written == b"</p hello>"
        assert not transport.closed

    def test_requests_follow_each_other_on_one_connection(self) -> None:
        connection, transport = connect(FakeFront())
        connection.data_received(GET)
        connection.data_received(POST)
        assert transport.written == b"</healthz ></p hello>"

    def test_pipelined_requests_are_answered_in_their_order(self) -> None:
        assert answer_to((GET + POST) * 500).written == b"</healthz ></p hello>" * 500

    def test_others_have_their_turn_among_the_answers_to_many_requests_at_once(self) -> None:
        front, numbers = FakeFront(), range(5000)
        connection, transport = connect(front)
        requests = [GET.replace(b"/healthz", b"/%d" % number) for number in numbers]
        before = 0
        connection.data_received(b"".join(requests[:4000]))
        connection.data_received(b"".join(requests[4000:]))
        assert not transport.reading
        while front.due:
            assert len(front.requests) - before <= ANSWERS_IN_A_ROW
            before = len(front.requests)
            front.due.pop(0)()
        assert transport.written == b"".join(b"</%d >" % number for number in numbers)
        assert transport.reading

    @pytest.mark.parametrize("end", [lambda its: its.eof_received(), lambda its: its.expire()])
    def test_what_has_come_already_is_answered_whatever_comes_to_an_end(
        self, end: Callable[[Connection], object]
    ) -> None:
        front = FakeFront()
        connection, transport = connect(front)
        connection.data_received(GET * 1000)
        end(connection)
        front.go_on()
        assert transport.written == b"</healthz >" * 1000

    @pytest.mark.parametrize("answered", [0, 1, 2], ids=["at once", "in the midst", "at the last"])
    @pytest.mark.parametrize("pieces", [[POST, POST + GET], [POST + POST + GET]], ids=["two pieces", "one piece"])
    def test_a_client_that_has_asked_for_all_that_it_wants_gets_all_of_it(
        self, pieces: list[bytes], answered: int
    ) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        for piece in pieces:
            connection.data_received(piece)
        for number in range(3):
            if number == answered:
                assert connection.eof_received()
            assert not transport.is_closing()
            front.send_waiting()
        assert [request.caller.gone for request in front.requests] == [False] * 3
        assert transport.written == b"</p hello></p hello></healthz >"
        assert transport.is_closing()

    @pytest.mark.parametrize("pieces", [[GET, POST[:-1]], [GET + POST[:-1]]], ids=["two pieces", "one piece"])
    def test_a_request_that_is_cut_short_behind_another_is_refused_at_once(self, pieces: list[bytes]) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        for piece in pieces:
            connection.data_received(piece)
        connection.eof_received()
        front.send_waiting()
        assert transport.written.startswith(b"</healthz >HTTP/1.1 400 ")
        assert [request.caller.gone for request in front.requests] == [False]

    def test_a_client_that_does_not_wait_is_held_back(self) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        connection.data_received(GET)
        connection.data_received(POST)
        assert len(front.requests) == 1
        assert not transport.reading
        front.send_waiting()
        assert transport.reading
        front.send_waiting()
        assert transport.written == b"</healthz ></p hello>"

    def test_spaces_around_the_value_of_a_header_are_no_part_of_it(self) -> None:
        front = FakeFront()
        connect(front)[0].data_received(POST.replace(b"\r\n\r\n", b"\r\nX-A: \t a b\t \r\nX-B:\r\n\r\n"))
        (request,) = front.requests
        assert (request.header(b"x-a"), request.header(b"x-b")) == (b"a b", b"")

    def test_a_chunked_body_is_put_together(self) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert answer_to(head + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n").written == b"</p hello>"

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
        ],
    )
    def test_a_connection_that_cannot_go_on_is_closed_after_the_answer(self, request_bytes: bytes) -> None:
        transport = answer_to(request_bytes)
        assert transport.written == b"</ >"
        assert transport.closed

    def test_a_client_that_asks_first_may_send_its_body(self) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        connection, transport = connect(FakeFront())
        connection.data_received(head)
        assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.data_received(b"hello")
        assert transport.written.endswith(b"</p hello>")

    def test_asking_first_is_recognised_in_any_case(self) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
        assert answer_to(head).written == b"HTTP/1.1 100 Continue\r\n\r\n"

    def test_a_client_that_sent_its_body_anyway_is_not_told_to(self) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        assert answer_to(head + b"hello").written == b"</p hello>"

    def test_a_client_is_told_to_send_its_body_after_earlier_requests_are_answered(self) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        connection.data_received(GET + head)
        assert transport.written == b""
        front.send_waiting()
        assert transport.written == b"</healthz >HTTP/1.1 100 Continue\r\n\r\n"

    @pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
    @pytest.mark.parametrize(
        "framed", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    )
    def test_the_wish_for_another_protocol_is_not_heard(self, framed: bytes, piece_bytes: int) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        data = head + b"HTTP2-Settings: AAMAAABk\r\n" + framed + POST
        connection, transport = connect(FakeFront())
        for start in range(0, len(data), piece_bytes):
            connection.data_received(data[start : start + piece_bytes])
        assert transport.written == b"</p hello>" * 2
        assert not transport.closed

    def test_the_head_of_a_wish_for_another_protocol_has_the_limits_of_any_other(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\na: " + b"b" * 100 + b"\r\n\r\n"
        assert answer_to(head, head_bytes=200).written == b"</ >"

    def test_many_wishes_for_another_protocol_at_once_are_not_heard(self) -> None:
        upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert answer_to(upgrade * 1000).written == b"</ >" * 1000

    def test_a_body_of_many_small_chunks_is_put_together(self) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert answer_to(head + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n").written == b"</p %s>" % (b"x" * 5000)

    def test_the_trailer_of_a_body_is_not_among_the_headers(self) -> None:
        front = FakeFront()
        connection, transport = connect(front)
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.data_received(head + b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
        assert transport.written == b"</p hello>"
        assert [name for name, _ in front.requests[0].headers] == [b"host", b"transfer-encoding"]

    def test_an_address_as_the_target_is_a_path_and_the_host(self) -> None:
        front = FakeFront()
        connect(front)[0].data_received(b"GET http://localhost:1/a?b HTTP/1.1\r\nHost: other\r\n\r\n")
        assert front.requests[0].target == b"/a?b"
        assert front.requests[0].headers == [(b"host", b"localhost:1")]

    def test_little_of_what_a_client_sends_ahead_becomes_requests_before_its_turn(self) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        connection.data_received(GET * 8000)
        assert len(front.requests) == 1
        for _ in range(8000):
            front.send_waiting()
        assert transport.written == b"</healthz >" * 8000

    def test_connections_are_counted(self) -> None:
        front = FakeFront()
        connection, _ = connect(front)
        assert front.open == 1
        connection.connection_lost(None)
        assert front.open == 0


class TestRefusals:
    @pytest.mark.parametrize(
        "data",
        [
            b"nonsense\r\n\r\n",
            b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n",
            b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        ],
    )
    def test_what_is_not_http_is_refused(self, data: bytes) -> None:
        assert status_of(answer_to(data)) == 400

    def test_requests_before_the_bad_one_are_answered(self) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        connection.data_received(GET + b"nonsense\r\n\r\n")
        assert transport.written == b""
        front.send_waiting()
        assert transport.written.startswith(b"</healthz >HTTP/1.1 400 ")
        assert transport.half_closed

    @pytest.mark.parametrize(("size", "status"), [(29, None), (30, None), (31, 414)])
    def test_the_line_has_a_limit(self, size: int, status: int | None) -> None:
        line = b"GET /" + b"a" * (size - len("GET / HTTP/1.1")) + b" HTTP/1.1"
        assert len(line) == size
        transport = answer_to(line + b"\r\nHost: x\r\n\r\n", line_bytes=30)
        assert transport.written.startswith(b"</a") if status is None else status_of(transport) == status

    @pytest.mark.parametrize(("count", "status"), [(2, None), (3, None), (4, 431)])
    def test_the_number_of_headers_has_a_limit(self, count: int, status: int | None) -> None:
        transport = answer_to(b"GET / HTTP/1.0\r\n" + b"a: b\r\n" * count + b"\r\n", headers=3)
        assert transport.written == b"</ >" if status is None else status_of(transport) == status

    @pytest.mark.parametrize(("size", "status"), [(9, None), (10, None), (11, 431)])
    def test_a_header_has_a_limit(self, size: int, status: int | None) -> None:
        transport = answer_to(b"GET / HTTP/1.0\r\na: " + b"b" * (size - 1) + b"\r\n\r\n", header_bytes=10)
        assert transport.written == b"</ >" if status is None else status_of(transport) == status

    @pytest.mark.parametrize("piece_bytes", [1, 1000])
    @pytest.mark.parametrize(("size", "status"), [(99, None), (100, None), (101, 431)])
    def test_the_whole_head_has_a_limit(self, size: int, status: int | None, piece_bytes: int) -> None:
        start = b"GET / HTTP/1.0\r\na: " + b"b" * 50 + b"\r\nc: "
        head = start + b"d" * (size - len(start) - 4) + b"\r\n\r\n"
        assert len(head) == size
        connection, transport = connect(FakeFront(head_bytes=100))
        for at in range(0, size, piece_bytes):
            connection.data_received(head[at : at + piece_bytes])
        assert transport.written == b"</ >" if status is None else status_of(transport) == status

    def test_a_head_without_an_end_has_a_limit(self) -> None:
        assert status_of(answer_to(b"GET / HTTP/1.1\r\na: " + b"b" * 200, head_bytes=100)) == 431

    @pytest.mark.parametrize(("limit", "status"), [(6, None), (5, None), (4, 413)])
    def test_the_body_has_a_limit(self, limit: int, status: int | None) -> None:
        transport = answer_to(POST, body_bytes=limit)
        assert transport.written == b"</p hello>" if status is None else status_of(transport) == status

    @pytest.mark.parametrize(("limit", "status"), [(6, None), (5, None), (4, 413)])
    def test_a_chunked_body_has_the_same_limit(self, limit: int, status: int | None) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        transport = answer_to(head + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", body_bytes=limit)
        assert transport.written == b"</p hello>" if status is None else status_of(transport) == status

    def test_the_limits_hold_for_who_wishes_for_another_protocol(self) -> None:
        wish = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        assert status_of(answer_to(POST.replace(b"Host: x\r\n", wish), body_bytes=4)) == 413

    def test_a_body_of_chunks_that_are_mostly_framing_is_refused(self) -> None:
        head = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;"
        connection, transport = connect(FakeFront())
        connection.data_received(head)
        for _ in range(FRAMING_BYTES // 1000):
            connection.data_received(b"x" * 1000)
        assert transport.written == b""
        connection.data_received(b"x" * 1000)
        assert status_of(transport) == 400

    def test_an_answer_to_head_has_no_body_when_it_is_a_refusal(self) -> None:
        transport = answer_to(b"HEAD /" + b"a" * 20 + b" HTTP/1.1\r\nHost: x\r\n\r\n", line_bytes=20)
        assert transport.written.startswith(b"HTTP/1.1 414 ")
        assert transport.written.endswith(b"\r\n\r\n")

    def test_the_beginning_of_another_request_behind_one_is_refused_when_it_stays_that(self) -> None:
        connection, transport = connect(FakeFront())
        connection.data_received(GET + b"GET /he")
        assert not connection.is_idle
        connection.expire()
        assert b"HTTP/1.1 408 " in transport.written

    def test_tunnels_are_refused(self) -> None:
        assert status_of(answer_to(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nother")) == 405

    def test_what_is_refused_is_noted(self) -> None:
        front = FakeFront(body_bytes=4)
        connection, _ = connect(front)
        connection.data_received(POST)
        assert front.refusals == [("POST", b"/p", "127.0.0.1", 413)]

    def test_a_refused_client_may_go_on_sending_for_a_while(self) -> None:
        connection, transport = connect(FakeFront(body_bytes=4))
        connection.data_received(POST)
        answer = transport.written
        connection.data_received(b"x" * 1000 + GET)
        assert transport.written == answer
        assert not transport.closed
        assert connection.deadline <= time.monotonic() + LINGER_SECONDS
        connection.expire()
        assert transport.closed

    def test_a_refused_client_that_was_held_back_is_read_on(self) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        connection.data_received(GET + b"nonsense\r\n\r\n")
        connection.data_received(b"more")
        front.send_waiting()
        assert transport.reading

    def test_a_refused_client_cannot_send_without_end(self) -> None:
        connection, transport = connect(FakeFront(body_bytes=4))
        connection.data_received(POST)
        for _ in range(LINGER_BYTES // MEBI + 1):
            connection.data_received(bytes(MEBI))
        assert transport.closed

    def test_a_refused_client_that_ends_is_let_go(self) -> None:
        connection, _ = connect(FakeFront(body_bytes=4))
        connection.data_received(POST)
        assert not connection.eof_received()

    def test_a_request_cut_short_is_refused(self) -> None:
        front = FakeFront()
        connection, transport = connect(front)
        connection.data_received(POST[:-1])
        connection.eof_received()
        assert status_of(transport) == 400
        assert front.requests == []


class TestMemory:
    SIZE = 300_000
    HEAD = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE
    CHUNKED = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % SIZE

    def test_a_body_takes_memory_until_it_is_answered(self) -> None:
        front = FakeFront(at_once=False, memory=MEBI)
        connection, _ = connect(front)
        connection.data_received(self.HEAD)
        assert front.memory.free == MEBI
        connection.data_received(bytes(self.SIZE))
        assert front.memory.free <= MEBI - self.SIZE + UNCOUNTED_BYTES
        front.send_waiting()
        assert front.memory.free == MEBI

    @pytest.mark.parametrize("head", [HEAD, CHUNKED])
    def test_a_large_body_is_refused_when_no_memory_is_left_and_may_be_sent_again(self, head: bytes) -> None:
        front = FakeFront(memory=MEBI)
        connection, transport = connect(front)
        front.memory.count(MEBI)
        connection.data_received(head)
        connection.data_received(bytes(self.SIZE))
        assert status_of(transport) == 503
        assert b"\r\nRetry-After: 1\r\n" in transport.written
        front.memory.give_back(MEBI)
        assert front.memory.free == MEBI

    def test_a_small_body_is_taken_when_no_memory_is_left(self) -> None:
        front = FakeFront(memory=1)
        front.memory.count(1)
        connection, transport = connect(front)
        connection.data_received(self.HEAD.replace(b"300000", b"65536") + bytes(65536))
        assert transport.written.startswith(b"</p \x00")

    @pytest.mark.parametrize("head", [HEAD, CHUNKED])
    def test_a_client_that_leaves_in_the_midst_gives_it_back(self, head: bytes) -> None:
        front = FakeFront(memory=MEBI)
        connection, _ = connect(front)
        connection.data_received(head)
        connection.data_received(bytes(self.SIZE - 1))
        assert front.memory.free < MEBI
        connection.connection_lost(None)
        assert front.memory.free == MEBI

    def test_a_client_that_leaves_before_its_answer_gives_it_back_when_that_is_made(self) -> None:
        front = FakeFront(at_once=False, memory=MEBI)
        connection, transport = connect(front)
        connection.data_received(self.HEAD + bytes(self.SIZE))
        transport.close()
        connection.connection_lost(None)
        assert front.memory.free < MEBI
        front.send_waiting()
        assert front.memory.free == MEBI

    def test_an_answer_that_is_not_read_takes_memory_until_it_is(self) -> None:
        front = FakeFront(at_once=False, memory=MEBI)
        connection, _ = connect(front)
        connection.data_received(GET)
        connection.pause_writing()  # as the transport does while it is given more than it can send
        connection.send(bytes(self.SIZE), keep_alive=True)
        assert front.memory.free == MEBI - self.SIZE
        connection.resume_writing()
        assert front.memory.free == MEBI

    def test_a_client_that_does_not_read_gets_no_more_answers(self) -> None:
        connection, transport = connect(FakeFront())
        connection.pause_writing()
        connection.data_received(GET + GET)
        assert transport.written == b""
        connection.data_received(GET)
        assert not transport.reading
        connection.resume_writing()
        assert transport.written == b"</healthz >" * 3
        assert transport.reading

    def test_much_that_is_sent_ahead_is_refused_when_no_memory_is_left(self) -> None:
        front = FakeFront(at_once=False, memory=1)
        connection, transport = connect(front)
        connection.data_received(GET)
        connection.data_received(GET * 8000)
        front.send_waiting()
        assert transport.written.startswith(b"</healthz >HTTP/1.1 503 ")
        assert front.memory.free == 1

    def test_what_was_sent_ahead_of_a_refusal_is_given_back_with_it(self) -> None:
        ahead = GET * 8000
        front = FakeFront(at_once=False, memory=len(ahead))
        connection, transport = connect(front)
        for data in (GET, ahead, ahead):
            connection.data_received(data)
        assert front.memory.free == 0
        front.send_waiting()
        assert transport.written.startswith(b"</healthz >HTTP/1.1 503 ")
        assert front.memory.free == len(ahead)
        connection.connection_lost(None)
        assert front.memory.free == len(ahead)


class TestCallers:
    def test_a_caller_has_so_much_time_from_the_arrival_of_its_request(self) -> None:
        front = FakeFront(answer_seconds=7.0)
        before = time.monotonic()
        connect(front)[0].data_received(POST)
        caller = front.requests[0].caller
        assert before <= caller.arrived <= time.monotonic()
        assert caller.deadline == caller.arrived + 7

    def test_a_caller_comes_with_the_length_of_its_body(self) -> None:
        front = FakeFront()
        connect(front)[0].data_received(GET + POST)
        assert [request.caller.body_bytes for request in front.requests] == [0, len(b"hello")]

    @pytest.mark.parametrize("hang_up", [lambda its: its.eof_received(), lambda its: its.connection_lost(None)])
    def test_a_caller_that_hangs_up_before_its_answer_is_gone(self, hang_up: Callable[[Connection], object]) -> None:
        front = FakeFront(at_once=False)
        connection, _ = connect(front)
        connection.data_received(POST)
        assert not front.requests[0].caller.gone
        hang_up(connection)
        assert front.requests[0].caller.gone

    def test_a_caller_that_only_has_no_more_to_say_still_gets_an_answer(self) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        connection.data_received(POST)
        assert connection.eof_received()
        front.send_waiting()
        assert transport.written == b"</p hello>"
        assert transport.is_closing()

    def test_a_caller_that_once_asked_for_more_than_one_answer_may_hang_up_later(self) -> None:
        front = FakeFront(at_once=False)
        connection, _ = connect(front)
        connection.data_received(POST + POST)
        front.send_waiting()
        front.send_waiting()
        connection.data_received(POST)
        connection.eof_received()
        assert [request.caller.gone for request in front.requests] == [False, False, True]

    def test_a_caller_that_has_its_answer_is_not_gone(self) -> None:
        front = FakeFront()
        connection, _ = connect(front)
        connection.data_received(POST)
        connection.data_received(POST)
        connection.eof_received()
        assert [request.caller.gone for request in front.requests] == [False, False]


class TestDeadlines:
    @pytest.mark.parametrize("sent", [b"GET / HT", POST[:-2]])
    def test_a_request_that_does_not_arrive_is_refused(self, sent: bytes) -> None:
        connection, transport = connect(FakeFront())
        connection.data_received(sent)
        connection.expire()
        assert status_of(transport) == 408

    def test_an_idle_connection_is_closed_without_a_word(self) -> None:
        connection, transport = connect(FakeFront())
        connection.data_received(GET)
        transport.written = b""
        connection.expire()
        assert transport.closed
        assert transport.written == b""

    def test_an_answer_in_the_making_is_not_cut_off(self) -> None:
        front = FakeFront(at_once=False)
        connection, transport = connect(front)
        connection.data_received(GET)
        connection.expire()
        assert not transport.closed

    def test_a_client_that_does_not_read_is_cut_off(self) -> None:
        connection, transport = connect(FakeFront())
        connection.pause_writing()
        connection.data_received(GET)
        connection.expire()
        assert transport.aborted

    def test_the_last_answer_gets_its_time_and_no_more(self) -> None:
        front = FakeFront(at_once=False, body_seconds=20.0)
        connection, transport = connect(front)
        transport.unsent = 5 * MEBI
        connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        connection.pause_writing()
        front.send_waiting()
        assert transport.closed
        assert 24 < connection.deadline - time.monotonic() <= 25
        connection.resume_writing()
        assert not transport.aborted
        connection.expire()
        assert transport.aborted

    def test_closing_again_gives_no_more_time(self) -> None:
        connection, _ = connect(FakeFront())
        connection.close()
        deadline = connection.deadline
        connection.close()
        assert connection.deadline == deadline

    def test_each_part_of_a_request_gets_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
        limits = {"head_seconds": 7.0, "body_seconds": 20.0, "seconds_a_mebibyte": 3.0, "idle_seconds": 50.0}
        front = FakeFront(at_once=False, **limits)
        connection, _ = connect(front)
        deadlines = [connection.deadline]
        start, end = b"POST /p HTTP/1.1\r\nHost: x\r\n", b"Content-Length: %d\r\n\r\n" % (2 * MEBI)
        for sent in (start, end, bytes(2 * MEBI)):
            connection.data_received(sent)
            deadlines.append(connection.deadline)
        front.send_waiting()
        assert [*deadlines, connection.deadline] == [1007, 1007, 1026, 1026, 1050]

    def test_dripping_does_not_move_the_deadline(self) -> None:
        connection, _ = connect(FakeFront())
        connection.data_received(b"G")
        deadline = connection.deadline
        connection.data_received(b"E")
        assert connection.deadline == deadline


def test_what_a_lost_connection_held_is_free_at_once() -> None:
    connection, _ = connect(FakeFront())
    connection.data_received(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\nhalf")
    left = weakref.ref(connection)
    gc.disable()
    try:
        connection.connection_lost(None)
        del connection
        assert left() is None
    finally:
        gc.enable()


def test_between_the_pieces_of_a_large_body_other_connections_are_looked_at() -> None:
    front = FakeFront()
    connection, transport = connect(front)
    connection.data_received(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    assert transport.reading
    connection.data_received(bytes(200_000))
    assert not transport.reading
    for call in front.due:
        call()
    assert transport.reading
