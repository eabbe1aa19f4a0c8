"""Requests that share memory."""

import gzip
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from serving.inference import Inference
from tests.rest.api import error, result, serve
from tests.server import wait_for

PREDICT, INFER = "/v1/models/model:predict", "/v2/models/model/infer"
ROOM = 20_000_000
"""A fifth of it is for texts, three fifths are for objects."""
FEW = b'{"instances": [' + b"1.0," * 100_000 + b"1.0]}"
MANY = b'{"instances": [' + b"[]," * 200_000 + b"[]]}"


@pytest.fixture(scope="module")
def client(half_plus_two: Path) -> Iterator[FlaskClient]:
    with serve(model_dir=half_plus_two, request_memory_bytes=ROOM) as client:
        yield client


def test_a_large_request_that_fits_is_answered_again_and_again(client: FlaskClient) -> None:
    for _ in range(30):  # what is taken and not given back would soon be all
        assert len(result(client.post(PREDICT, data=FEW))["predictions"]) == 100_001


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/model:classify", "/v1/models/nobody:predict", INFER])
def test_a_request_that_can_never_fit_is_refused_with_the_setting_that_would_change_that(
    client: FlaskClient, path: str
) -> None:
    for _ in range(5):
        assert "raise SERVING_REQUEST_MEMORY_BYTES" in error(client.post(path, data=MANY), 413)


def test_a_body_that_may_decompress_to_more_than_there_is_is_refused(client: FlaskClient) -> None:
    packed = gzip.compress(b'{"instances": [1.0]' + os.urandom(10_000).hex().encode())
    said = error(client.post(PREDICT, data=packed, headers={"Content-Encoding": "gzip"}), 413)
    assert "raise SERVING_REQUEST_MEMORY_BYTES" in said


def test_while_others_have_the_memory_large_requests_are_to_come_again_and_small_ones_go_on(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two large requests finds too little left for its text."""
    go_on, began, run = threading.Event(), threading.Event(), Inference.run

    def run_later(
        self: Inference, handle: object, signature: object, inputs: dict[str, object], *rest: object
    ) -> object:
        if len(inputs["x"]) > 100_000:  # type: ignore[arg-type]
            began.set()
            assert go_on.wait(60)
        return run(self, handle, signature, inputs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Inference, "run", run_later)
    large = b'{"instances": [' + b"1.0," * 600_000 + b"1.0]}"
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(client.post(PREDICT, data=large).status_code))
    first.start()
    try:
        wait_for(began.is_set, "the first has its tensors")
        response = client.post(PREDICT, data=large)
        assert "try again later" in error(response, 503)
        assert response.headers["Retry-After"] == "1"
        assert result(client.post(PREDICT, data=b'{"instances": [1.0]}')) == {"predictions": [2.5]}
        assert client.get("/healthz").status_code == 200
    finally:
        go_on.set()
        first.join()
    assert answers == [200]
    assert client.post(PREDICT, data=large).status_code == 200
