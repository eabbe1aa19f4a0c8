"""Requests that share memory."""

import asyncio
import contextlib
import gzip
import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, TestResponse

from serving.answers import Written
from serving.caller import Caller
from serving.errors import Unavailable
from serving.fibers import Fibers
from serving.inference import Inference
from serving.rest.room import Room
from serving.rest.trace import Trace, begin, end
from serving.settings import Settings
from serving.wsgi import SENDS_MEMORY, call
from tests import saved_models
from tests.inputs.pictures import bare_png
from tests.rest.api import error, result, serve
from tests.rest.v2 import infer, tensor
from tests.server import wait_for

PREDICT, INFER = "/v1/models/model:predict", "/v2/models/model/infer"
ROOM = 20_000_000
"""A fifth of it is for texts, three fifths are for objects."""
FEW = b'{"instances": [' + b"1.0," * 100_000 + b"1.0]}"
MANY = b'{"instances": [' + b"[]," * 200_000 + b"[]]}"

ODD = os.urandom(5_000).hex().encode()
"""As large when compressed that as much could become more than all texts may take."""

MEBI = 1024 * 1024


@pytest.fixture(scope="module")
def client(half_plus_two: Path) -> Iterator[FlaskClient]:
    with serve(model_dir=half_plus_two, request_memory_bytes=ROOM) as client:
        yield client


def packed(body: bytes) -> dict[str, Any]:
    return {"data": gzip.compress(body), "headers": {"Content-Encoding": "gzip"}}


def post_packed(client: FlaskClient, body: bytes) -> TestResponse:
    return client.post(PREDICT, **packed(body))


def post_array(client: FlaskClient, array: Any) -> TestResponse:
    file = io.BytesIO()
    np.save(file, array)
    return client.post(PREDICT, data=file.getvalue(), content_type="application/x-npy")


@contextmanager
def in_hand(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, **sent: Any) -> Iterator[None]:
    """While a request of more than 100,000 values has been read, and is not run before the end; it must be answered."""
    go_on, began, run = threading.Event(), threading.Event(), Inference.run

    def run_later(self: Inference, handle: Any, signature: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        if len(inputs["x"]) > 100_000:
            began.set()
            assert go_on.wait(60)
        return run(self, handle, signature, inputs, *rest)

    monkeypatch.setattr(Inference, "run", run_later)
    answers: list[int] = []
    request = threading.Thread(target=lambda: answers.append(client.post(PREDICT, **sent).status_code))
    request.start()
    try:
        wait_for(lambda: began.is_set() or answers, "the request has its tensors")
        yield
    finally:
        go_on.set()
        request.join()
    assert answers == [200]


def test_a_large_request_that_fits_is_answered_again_and_again(client: FlaskClient) -> None:
    for _ in range(30):  # what is taken and not given back would soon be all
        assert len(result(client.post(PREDICT, data=FEW))["predictions"]) == 100_001


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/model:classify", "/v1/models/nobody:predict", INFER])
def test_a_request_that_can_never_fit_is_refused_with_the_setting_that_would_change_that(
    client: FlaskClient, path: str
) -> None:
    for _ in range(5):
        assert "raise SERVING_REQUEST_MEMORY_BYTES" in error(client.post(path, data=MANY), 413)


def test_a_compressed_body_is_counted_as_what_it_has_become(client: FlaskClient) -> None:
    odd = b'{"instances": [1.0], "x": "' + ODD + b'"}'
    for _ in range(30):
        assert result(post_packed(client, odd)) == {"predictions": [2.5]}
        assert len(result(post_packed(client, FEW))["predictions"]) == 100_001


def test_a_body_that_decompresses_to_more_than_there_is_is_refused(client: FlaskClient) -> None:
    for _ in range(5):
        said = error(post_packed(client, b'{"instances": [1.0]}' + b" " * (ROOM // 5)), 413)
        assert "SERVING_REQUEST_MEMORY_BYTES" in said


def test_what_a_table_or_a_picture_may_become_is_counted(client: FlaskClient, tmp_path: Path) -> None:
    said = error(client.post(PREDICT, data=b"x\n" + b"1\n" * 300_000, content_type="text/csv"), 413)
    assert "raise SERVING_REQUEST_MEMORY_BYTES" in said
    saved_models.scale(tmp_path / "1", 1.0, shape=(None, 2, 3))
    (tmp_path / "1" / "image_input.json").write_text('{"color": "gray"}')
    with serve(model_dir=tmp_path, request_memory_bytes=ROOM) as pictures:
        for _ in range(5):
            assert len(result(pictures.post(PREDICT, data=bare_png(20, 1), content_type="image/png"))) == 1
            said = error(pictures.post(PREDICT, data=bare_png(3000, 1500), content_type="image/png"), 413)
            assert "raise SERVING_REQUEST_MEMORY_BYTES" in said


def test_what_an_array_becomes_is_counted(client: FlaskClient) -> None:
    for _ in range(5):
        assert len(result(post_array(client, np.ones(300_000, np.uint8)))["predictions"]) == 300_000
        said = error(post_array(client, np.ones(3_000_000, np.uint8)), 413)
        assert "raise SERVING_REQUEST_MEMORY_BYTES" in said


def test_what_strings_in_binary_become_is_counted(tmp_path: Path) -> None:
    saved_models.bytes_output(tmp_path / "1")
    outputs = [{"name": "text", "parameters": {"binary_data": True}}]

    def send(size: int) -> TestResponse:
        sent = [tensor("x", "BYTES", [size // 4], binary_data_size=size)]
        return infer(client, "model", {"inputs": sent, "outputs": outputs}, bytes(size))

    with serve(model_dir=tmp_path, request_memory_bytes=ROOM) as client:
        for _ in range(5):
            assert send(300_000).status_code == 200
            assert "raise SERVING_REQUEST_MEMORY_BYTES" in error(send(1_000_000), 413)
    with serve(model_dir=tmp_path, request_memory_bytes=2_000_000) as client:
        assert send(250_000).status_code == 200  # may be read in the event loop


def test_a_small_array_never_asks_for_memory(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two, request_memory_bytes=2_000_000) as poor:
        assert "raise SERVING_REQUEST_MEMORY_BYTES" in error(post_array(poor, np.ones(2**18, np.uint8)), 413)
        assert len(result(post_array(poor, np.ones(2**18 - 128, np.uint8)))["predictions"]) == 2**18 - 128


def test_while_others_have_the_memory_large_requests_are_to_come_again_and_small_ones_go_on(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two large requests finds too little left for its text."""
    large = b'{"instances": [' + b"1.0000," * 340_000 + b"1.0]}"
    with in_hand(client, monkeypatch, data=large):
        response = client.post(PREDICT, data=large)
        assert "try again later" in error(response, 503)
        assert response.headers["Retry-After"] == "1"
        assert "try again later" in error(post_packed(client, large), 503)
        assert result(client.post(PREDICT, data=b'{"instances": [1.0]}')) == {"predictions": [2.5]}
        assert result(post_packed(client, b'{"instances": [1.0]}')) == {"predictions": [2.5]}
        assert client.get("/healthz").status_code == 200
    assert client.post(PREDICT, data=large).status_code == 200


def test_compressed_requests_are_answered_while_others_are_in_hand(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def less(first: bytes) -> bytes:
        return b'{"x": "' + ODD + b'", "instances": [' + first + b",1.0" * 90_000 + b"]}"

    with in_hand(client, monkeypatch, **packed(FEW[:-1] + b', "x": "' + ODD + b'"}')):
        for _ in range(3):
            assert post_packed(client, less(b"1.0")).status_code == 200
            assert client.post(PREDICT, data=less(b"2.0")).status_code == 200


def test_answers_that_nobody_has_read_yet_are_counted(client: FlaskClient) -> None:
    body = b'{"instances": [' + b"1.0000," * 150_000 + b"1.0]}"

    def send() -> Written:
        environ = EnvironBuilder(PREDICT, method="POST", data=body).get_environ() | {SENDS_MEMORY: True}
        return call(client.application, environ, keep_alive=True)

    unread = [send() for _ in range(8)]  # 0.6 MB each, and another takes 7.2 of 12 MB while it is written
    assert {bytes(answer[0]).split(b"\r\n")[0] for answer in unread} == {b"HTTP/1.1 200 OK"}
    assert "try again later" in error(client.post(PREDICT, data=body), 503)
    assert result(client.post(PREDICT, data=b'{"instances": [1.0]}')) == {"predictions": [2.5]}
    unread.clear()
    assert client.post(PREDICT, data=body).status_code == 200


def test_an_answer_that_takes_more_than_there_is_is_given_to_who_has_all_of_it(client: FlaskClient) -> None:
    for _ in range(3):
        answer = client.post(PREDICT, data=b'{"instances": [' + b"1.0000," * 340_000 + b"1.0]}")
        assert len(result(answer)["predictions"]) == 340_001


def test_in_the_event_loop_nothing_waits_for_memory() -> None:
    """Which would be given back by another thread in time."""
    settings = Settings(request_memory_bytes=80 * MEBI, memory_wait_seconds=20.0)
    room, outcome = Room(settings), list[str]()

    def take() -> str:
        now = time.monotonic()
        begin({}, Trace(now, "id", Caller(now, now + 60)))
        try:
            with room.reading() as objects:
                objects.need(10 * MEBI)
                return "taken"
        except Unavailable:
            return "refused"
        finally:
            end()

    everything = room.reading()
    now = time.monotonic()
    begin({}, Trace(now, "id", Caller(now, now + 60)))
    everything.need(settings.objects_bytes)
    end()
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        giving_back = threading.Timer(0.5, everything.give_back)
        giving_back.start()
        Fibers(loop).run(take, outcome.append)
        giving_back.join()
        Fibers(loop).run(take, outcome.append)
    assert outcome == ["refused", "taken"]
