"""What holds for every request and answer: ids, bodies and their limits, compression, CORS and errors."""

import gc
import gzip
import io
import json
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug import wrappers
from werkzeug.test import TestResponse, create_environ

from app import create_app
from serving import metrics
from serving.caller import CALLER, Caller
from serving.inference import Inference
from serving.logs import AccessLog
from serving.models.loader import Loader
from serving.request import Request
from serving.rest import http
from serving.settings import Settings
from serving.tensors.parse import MAX_DEPTH, limit_depth
from serving.wsgi import environ_of_refused
from tests.rest.api import error, result, serve

PREDICT = "/v1/models/model:predict"
ROW = b'{"instances": [1.0]}'
ANSWER = {"predictions": [2.5]}
LIMIT = 2000
DECOMPRESSED_LIMIT = 8000


@pytest.fixture(scope="module")
def limited(half_plus_two: Path) -> Iterator[FlaskClient]:
    """A client of an app that takes small bodies only."""
    with serve(model_dir=half_plus_two, max_body_bytes=LIMIT, max_decompressed_bytes=DECOMPRESSED_LIMIT) as client:
        yield client


def padded(size: int) -> bytes:
    """A good request of this many bytes."""
    return ROW[:-1] + b" " * (size - len(ROW)) + b"}"


def still_serves(client: FlaskClient) -> bool:
    return bool(result(client.post(PREDICT, data=ROW)) == ANSWER)


# Request ids.


@pytest.mark.parametrize("sent", ["a", "A-b_c.d:e@f/g+h=1", "x" * 128, "7f3c2a10-91aa-4d2e-8a39-2f3b6a1f1a10"])
def test_a_sane_request_id_is_kept(client: FlaskClient, sent: str) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": sent}).headers["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\tb", "a\x1b[31m", "é", "<script>", 'a"b', "a\x00"])
def test_any_other_request_id_is_replaced(client: FlaskClient, sent: str) -> None:
    response = client.get("/healthz", environ_overrides={"HTTP_X_REQUEST_ID": sent})
    assert len(response.headers["X-Request-Id"]) == 32
    assert int(response.headers["X-Request-Id"], 16)


def test_how_long_an_id_may_be_is_a_setting(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two, max_request_id_chars=8) as client:
        kept = {
            sent: client.get("/healthz", headers={"X-Request-Id": sent}).headers["X-Request-Id"] == sent
            for sent in ("x" * 7, "x" * 8, "x" * 9)
        }
    assert kept == {"x" * 7: True, "x" * 8: True, "x" * 9: False}


@pytest.fixture
def usual_depth() -> Iterator[None]:
    """Leave the depth of JSON, which is a limit of the process, as it is for others."""
    yield
    limit_depth(MAX_DEPTH)


@pytest.mark.usefixtures("usual_depth")
@pytest.mark.parametrize(("levels", "status"), [(69, 200), (70, 200), (71, 400)])
def test_how_deep_json_may_be_is_a_setting(half_plus_two: Path, levels: int, status: int) -> None:
    body = b'{"instances": [1.0], "other": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}" + b" " * 200
    with serve(model_dir=half_plus_two, max_json_depth=70) as client:
        response = client.post(PREDICT, data=body)
    assert response.status_code == status
    if status == 400:
        assert error(response) == "JSON Parse error: Nested deeper than 70 levels, the limit of SERVING_MAX_JSON_DEPTH."


@pytest.mark.parametrize(("shape", "status"), [("[1.0]", 200), ("[[1.0]]", 200), ("[[[1.0]]]", 400)])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_how_many_dimensions_a_tensor_may_have_is_a_setting(
    half_plus_two: Path, key: str, shape: str, status: int
) -> None:
    with serve(model_dir=half_plus_two, max_rank=2) as client:
        response = client.post(PREDICT, data=f'{{"{key}": {shape}}}')
    assert response.status_code == status, response.text
    if status == 400:
        assert error(response) == 'input "x" has 3 dimensions, more than the 2 that SERVING_MAX_RANK allows'


def test_each_request_without_an_id_gets_one_of_its_own_also_when_it_fails(client: FlaskClient) -> None:
    responses = [client.get("/healthz"), client.get("/healthz"), client.get("/no"), client.post(PREDICT, data=b"{")]
    assert len({response.headers["X-Request-Id"] for response in responses}) == len(responses)


# Bodies and their limits.


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_a_body_up_to_the_limit_is_read(limited: FlaskClient, size: int) -> None:
    assert result(limited.post(PREDICT, data=padded(size))) == ANSWER


def test_a_body_over_the_limit_is_refused(limited: FlaskClient) -> None:
    said = error(limited.post(PREDICT, data=padded(LIMIT + 1)), 413)
    assert "larger than 2000 bytes" in said
    assert "SERVING_MAX_BODY_BYTES" in said
    assert still_serves(limited)


def test_a_length_over_the_limit_is_refused_before_anything_is_read(limited: FlaskClient) -> None:
    stream = Unreadable()
    error(send(limited, stream, CONTENT_LENGTH="1000000000000"), 413)


@pytest.mark.parametrize("missing", [1, 10, len(ROW)])
def test_a_body_that_is_shorter_than_promised_is_refused(limited: FlaskClient, missing: int) -> None:
    stream = io.BytesIO(ROW[: len(ROW) - missing])
    said = error(send(limited, stream, CONTENT_LENGTH=str(len(ROW))))
    assert said == f"The request body ended after {len(ROW) - missing} of {len(ROW)} bytes"


def test_what_follows_the_promised_length_is_left_alone(limited: FlaskClient) -> None:
    stream = io.BytesIO(ROW + b"GET /next")
    assert result(send(limited, stream, CONTENT_LENGTH=str(len(ROW)))) == ANSWER
    assert stream.read() == b"GET /next"


@pytest.mark.parametrize("length", ["x", "-1", "+1", "1.0", "1_0", "٣", "9" * 5000])
def test_a_length_that_is_no_number_is_refused(limited: FlaskClient, length: str) -> None:
    assert error(send(limited, Unreadable(), CONTENT_LENGTH=length)) == "Content-Length is not a whole number"


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_a_chunked_body_up_to_the_limit_is_read(limited: FlaskClient, size: int) -> None:
    assert result(send_chunked(limited, io.BytesIO(padded(size)))) == ANSWER


@pytest.mark.parametrize("size", [LIMIT + 1, 100 * LIMIT])
def test_a_chunked_body_over_the_limit_is_refused_without_reading_all_of_it(limited: FlaskClient, size: int) -> None:
    stream = io.BytesIO(padded(size))
    error(send_chunked(limited, stream), 413)
    assert stream.tell() == LIMIT + 1


def test_a_chunked_body_that_breaks_off_is_refused(limited: FlaskClient) -> None:
    assert error(send_chunked(limited, Broken())) == "The request body ended early or is not framed correctly"
    assert still_serves(limited)


def test_no_body_is_an_empty_document(limited: FlaskClient) -> None:
    assert error(limited.post(PREDICT)) == "JSON Parse error: The document is empty"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (PREDICT, b'{"predictions'),
        ("/nowhere", b'{"error":"Malformed request'),
        (PREDICT.replace("predict", "classify"), b'{"error"'),
        ("/v1/models/nobody:predict", b'{"error":"Servable not found'),
    ],
)
def test_nothing_holds_on_to_a_request_that_is_over(limited: FlaskClient, path: str, answer: bytes) -> None:
    environ = create_environ(path, method="POST", data=ROW)
    body = weakref.ref(environ["wsgi.input"])
    gc.disable()  # which would find it in the end; large bodies would pile up until then
    try:
        assert b"".join(limited.application(environ, lambda *_: None)).startswith(answer)
        del environ
        assert body() is None
    finally:
        gc.enable()


class Unreadable(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("must not be read")


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError("chunk without an end")


def send(client: FlaskClient, stream: io.BytesIO, **environ: Any) -> TestResponse:
    """Post a stream with this WSGI environment."""
    return client.post(PREDICT, environ_overrides={"wsgi.input": stream, **environ})


def send_chunked(client: FlaskClient, stream: io.BytesIO) -> TestResponse:
    """Post a stream as a server hands on a chunked body: without a length, at its end when the body is."""
    environ = create_environ(PREDICT, method="POST")
    environ.pop("CONTENT_LENGTH", None)
    environ |= {"wsgi.input": stream, "wsgi.input_terminated": True}
    return TestResponse(*client.run_wsgi_app(environ, buffered=True), request=wrappers.Request(environ))


# Compressed bodies.


def post_encoded(client: FlaskClient, body: bytes, encoding: str = "gzip") -> TestResponse:
    return client.post(PREDICT, data=body, headers={"Content-Encoding": encoding})


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " gzip ", "x-gzip"])
def test_a_gzip_body_is_decompressed(limited: FlaskClient, encoding: str) -> None:
    assert result(post_encoded(limited, gzip.compress(ROW), encoding)) == ANSWER


def test_a_deflate_body_is_decompressed(limited: FlaskClient) -> None:
    assert result(post_encoded(limited, zlib.compress(ROW), "deflate")) == ANSWER


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_body_without_encoding_is_read_as_it_is(limited: FlaskClient, encoding: str) -> None:
    assert result(post_encoded(limited, ROW, encoding)) == ANSWER


def test_a_gzip_body_of_several_members_is_all_of_them(limited: FlaskClient) -> None:
    members = [gzip.compress(ROW[:5]), gzip.compress(b""), *(gzip.compress(bytes([byte])) for byte in ROW[5:])]
    assert result(post_encoded(limited, b"".join(members))) == ANSWER


def test_a_large_gzip_body_is_decompressed_whole(client: FlaskClient) -> None:
    rows = [[float(index)] for index in range(50_000)]
    body = gzip.compress(json.dumps({"instances": rows}).encode())
    response = client.post("/v1/models/half_plus_two:predict", data=body, headers={"Content-Encoding": "gzip"})
    assert len(body) > 100_000
    assert result(response)["predictions"][-1] == [25001.5]


@pytest.mark.parametrize("cut", [1, 4, 8, 12])
def test_a_gzip_body_that_is_cut_off_is_refused(limited: FlaskClient, cut: int) -> None:
    assert (
        error(post_encoded(limited, gzip.compress(ROW)[:-cut])) == "The request body ended before its gzip stream did"
    )


@pytest.mark.parametrize(
    "body",
    [
        ROW,
        gzip.compress(ROW)[:10] + b"\xff" * 20,
        gzip.compress(ROW)[:-8] + b"\0" * 8,
        gzip.compress(ROW) + b"more",
        zlib.compress(ROW),
    ],
    ids=["not compressed", "damaged", "wrong checksum", "more behind it", "deflate"],
)
def test_what_is_not_gzip_is_refused(limited: FlaskClient, body: bytes) -> None:
    assert error(post_encoded(limited, body)) == "The request body is not valid gzip"
    assert still_serves(limited)


def test_an_empty_body_is_no_gzip(limited: FlaskClient) -> None:
    assert error(post_encoded(limited, b"")) == "The request body ended before its gzip stream did"


@pytest.mark.parametrize("size", [DECOMPRESSED_LIMIT - 1, DECOMPRESSED_LIMIT])
def test_a_body_may_be_as_large_as_the_limit_when_decompressed(limited: FlaskClient, size: int) -> None:
    assert result(post_encoded(limited, gzip.compress(padded(size)))) == ANSWER


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(padded(DECOMPRESSED_LIMIT + 1)),
        gzip.compress(b" " * 1_000_000),
        gzip.compress(b" " * DECOMPRESSED_LIMIT) + gzip.compress(b" "),
        gzip.compress(b" " * 3000) * 3,
    ],
    ids=["one byte", "a bomb", "the last member", "many members"],
)
def test_a_body_that_decompresses_to_more_is_refused(limited: FlaskClient, body: bytes) -> None:
    assert "SERVING_MAX_DECOMPRESSED_BYTES" in error(post_encoded(limited, body), 413)
    assert still_serves(limited)


def test_a_body_of_very_many_empty_members_is_no_burden(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        body = gzip.compress(b"") * 100_000 + gzip.compress(ROW)
        assert result(post_encoded(client, body)) == ANSWER


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd", "x" * 1000])
def test_an_encoding_that_is_not_known_is_refused(limited: FlaskClient, encoding: str) -> None:
    response = post_encoded(limited, ROW, encoding)
    assert "is not supported" in error(response, 415)
    assert len(response.data) < 200


# Compressed answers.

MANY = json.dumps({"instances": [[float(index)] for index in range(2000)]})


def ask(client: FlaskClient, accept: str | None, body: str = MANY) -> TestResponse:
    headers = {} if accept is None else {"Accept-Encoding": accept}
    return client.post("/v1/models/half_plus_two:predict", data=body, headers=headers)


@pytest.mark.parametrize("accept", ["gzip", "deflate, gzip;q=0.5", "GZIP, br", "br;q=1.0, gzip;q=0.8, *;q=0.1"])
def test_a_large_answer_is_compressed_for_whom_asks(client: FlaskClient, accept: str) -> None:
    plain, compressed = ask(client, None), ask(client, accept)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in compressed.headers["Vary"]
    assert compressed.content_length == len(compressed.data) < len(plain.data) / 2
    assert gzip.decompress(compressed.data) == plain.data


@pytest.mark.parametrize("accept", [None, "", "identity", "br", "gzip;q=0", "gzip; q=0.0, *"])
def test_an_answer_is_not_compressed_for_others(client: FlaskClient, accept: str | None) -> None:
    response = ask(client, accept)
    assert "Content-Encoding" not in response.headers
    assert len(result(response)["predictions"]) == 2000


def test_a_small_answer_is_not_compressed(client: FlaskClient) -> None:
    assert "Content-Encoding" not in ask(client, "gzip", ROW.decode()).headers


# CORS.

PAGE = {"Origin": "https://app.example"}
CORS = ["Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"]
ALLOWED = "Content-Type, Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def open_to_all(half_plus_two: Path) -> Iterator[FlaskClient]:
    with serve(model_dir=half_plus_two, cors_origins=("*",)) as client:
        yield client


@pytest.fixture(scope="module")
def open_to_some(half_plus_two: Path) -> Iterator[FlaskClient]:
    origins = ("https://app.example", "http://localhost:8080")
    with serve(model_dir=half_plus_two, cors_origins=origins) as client:
        yield client


def cors(response: TestResponse) -> list[str | None]:
    return [response.headers.get(name) for name in CORS]


def test_no_page_may_call_the_server_unless_that_is_set(limited: FlaskClient) -> None:
    for response in (limited.post(PREDICT, data=ROW, headers=PAGE), limited.options(PREDICT, headers=PAGE)):
        assert cors(response) == [None, None, None]


@pytest.mark.parametrize("headers", [PAGE, {}])
def test_every_page_may_where_all_may(open_to_all: FlaskClient, headers: dict[str, str]) -> None:
    for path, status in ((PREDICT, 200), ("/v1/models/nobody:predict", 404), ("/v1/nothing", 404)):
        response = open_to_all.post(path, data=ROW, headers=headers)
        assert response.status_code == status
        assert cors(response) == ["*", "POST, GET", ALLOWED]


def test_a_page_that_may_call_may_read_what_the_headers_say(open_to_all: FlaskClient) -> None:
    headers = open_to_all.post(PREDICT, data=ROW, headers=PAGE).headers
    assert headers["Access-Control-Expose-Headers"] == "X-Model-Version, X-Request-Id, Inference-Header-Content-Length"


@pytest.mark.parametrize("origin", ["https://app.example", "http://localhost:8080"])
def test_a_listed_page_may_and_the_answer_is_for_it_alone(open_to_some: FlaskClient, origin: str) -> None:
    response = open_to_some.post(PREDICT, data=ROW, headers={"Origin": origin})
    assert cors(response) == [origin, "POST, GET", ALLOWED]
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.evil", "http://app.example", "null", ""]
)
def test_a_page_that_is_not_listed_may_not(open_to_some: FlaskClient, origin: str) -> None:
    response = open_to_some.post(PREDICT, data=ROW, headers={"Origin": origin})
    assert cors(response) == [None, None, None]
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/nobody", "/v1/models"])
def test_a_preflight_is_answered_without_a_body(open_to_all: FlaskClient, path: str) -> None:
    headers = {**PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    response = open_to_all.options(path, headers=headers)
    assert response.status_code == 200
    assert response.data == b""
    assert cors(response) == ["*", "POST, GET", ALLOWED]


@pytest.mark.parametrize("headers", [{}, {"Origin": "null"}])
def test_options_from_no_page_is_no_preflight(open_to_all: FlaskClient, headers: dict[str, str]) -> None:
    response = open_to_all.options(PREDICT, headers=headers)
    assert error(response) == f"Malformed request: OPTIONS {PREDICT}"


# Errors.


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("POST", "/healthz", b"", 405),
        ("GET", PREDICT, b"", 405),
        ("POST", PREDICT, b"", 400),
        ("POST", PREDICT, b'{"instances": ["\\u0000\\u001b"]}', 400),
        ("POST", PREDICT, b'{"signature_name": "\xff", "instances": []}', 400),
        ("POST", "/v1/models/nobody:predict", ROW, 404),
        ("POST", "/v1/models/no%0Abody%22:predict", ROW, 404),
        ("POST", "/v1/models/%FF%00:predict", ROW, 404),
        ("POST", PREDICT, padded(LIMIT + 1), 413),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/xml;q=1"])
def test_every_error_is_one_json_object(
    limited: FlaskClient, method: str, path: str, body: bytes, status: int, accept: str
) -> None:
    assert error(limited.open(path, method=method, data=body, headers={"Accept": accept}), status)


@pytest.mark.parametrize("character", ["x", "é", "😀", "\\u0001", '\\"', "\\\\"])
def test_an_error_repeats_little_of_a_large_request(half_plus_two: Path, client: FlaskClient, character: str) -> None:
    long = character * 100_000
    for body in (
        f'{{"signature_name": "{long}", "instances": [1.0]}}',
        f'{{"signature_name": 5, "{long}": "{long}"}}',
        f'{{"instances": ["{long}"]}}',
        f'{{"instances": [{{"{long}": 1.0}}]}}',
        f'{{"inputs": {{"{long}": 1.0}}}}',
        f'"{long}"',
    ):
        response = client.post("/v1/models/half_plus_two:predict", data=body.encode())
        assert error(response)
        assert len(response.data) <= 4096


def test_a_name_that_is_too_long_is_cut_in_the_error(client: FlaskClient) -> None:
    response = client.post(f"/v1/models/{'%01' * 2000}:predict", data=ROW)
    assert error(response, 404).startswith("Servable not found for request: Latest(\x01\x01")
    assert len(response.data) <= 4096


def test_a_refusal_of_the_server_is_logged_and_counted_and_gets_an_id() -> None:
    count, _ = metrics.request_metrics("", "", "", 408)
    before, lines = value_of(count), list[str]()
    access_log = AccessLog("json", lines.append)
    note_refusal = http.Conventions(Settings(), [access_log], None, lambda: None).note_refusal
    assert note_refusal(refused("POST", "/v1/p", "abc-1"), 408) == "abc-1"
    assert len(note_refusal(refused("", "", "not sane"), 408)) == 32
    called = create_environ("/v1/p?q", environ_overrides={CALLER: Caller()})  # it has noted nothing yet
    assert len(note_refusal(called, 408)) == 32
    access_log.close()
    metrics.count_noted()
    assert value_of(count) == before + 3
    first, second, third = (json.loads(line) for line in "".join(lines).splitlines())
    told = ("status", "method", "path", "request_id", "peer")
    assert [first[name] for name in told] == [408, "POST", "/v1/p", "abc-1", "10.0.0.1"]
    assert 4000 <= first["milliseconds"] < 30_000
    assert (second["method"], second["path"], third["path"]) == ("-", "-", "/v1/p")


def refused(method: str, path: str, request_id: str) -> dict[str, Any]:
    """What is known of a request of which the first byte came four seconds ago."""
    caller = Caller(time.monotonic() - 4)
    request = Request(path.encode(), method, headers=[(b"x-request-id", request_id.encode())], caller=caller)
    return environ_of_refused(request, "10.0.0.1")


def value_of(count: Any) -> float:
    (metric,) = count.collect()
    return float(metric.samples[0].value)


def test_a_fault_of_the_server_is_500_without_its_details(
    half_plus_two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("secret of the house")

    with serve(model_dir=half_plus_two) as client:
        monkeypatch.setattr(Inference, "run", fail)
        response = client.post(PREDICT, data=ROW, headers={"X-Request-Id": "abc-1"})
        assert "its log says why" in error(response, 500)
        assert "secret" not in response.text
        assert "Traceback" not in response.text
        assert response.headers["X-Request-Id"] == "abc-1"
        log = capsys.readouterr().err
        assert "secret of the house" in log
        assert "abc-1" in log
        monkeypatch.undo()
        assert still_serves(client)


def test_a_request_before_the_models_are_there_may_be_sent_again(
    half_plus_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    load = Loader.__call__

    def load_later(loader: Loader, name: str, version: int, path: Path) -> Any:
        assert go_on.wait(30)
        return load(loader, name, version, path)

    monkeypatch.setattr(Loader, "__call__", load_later)
    app = create_app(Settings(model_dir=half_plus_two, access_log=False, request_timeout_seconds=0.01))
    try:
        client = app.test_client()
        response = client.post(PREDICT, data=ROW)
        assert error(response, 503) == "The models are still being loaded"
        assert response.headers["Retry-After"] == "1"
        assert client.get("/readyz").json == {
            "status": "not ready",
            "models": {"": "the models are still being loaded"},
        }
        go_on.set()
        assert app.extensions["model_manager"].wait_until_settled(60)
        assert client.get("/readyz").status_code == 200
    finally:
        go_on.set()
        app.extensions["services"].close()


# Deadlines.


@pytest.mark.parametrize("milliseconds", ["1000", "1", "86400000"])
def test_a_caller_may_ask_for_less_time(client: FlaskClient, milliseconds: str) -> None:
    assert client.get("/healthz", headers={"X-Request-Timeout-Ms": milliseconds}).status_code == 200


def test_the_time_that_a_caller_allows_counts_from_the_arrival(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        for waited, status in ((0.0, 200), (2.0, 504)):
            arrived = time.monotonic() - waited
            caller = Caller(arrived, arrived + 30)
            headers = {"X-Request-Timeout-Ms": "1500"}
            response = client.post(PREDICT, data=ROW, headers=headers, environ_overrides={CALLER: caller})
            assert response.status_code == status
        assert error(response, 504).startswith("Timed out waiting for notification")


def test_a_caller_cannot_ask_for_more_time_than_the_server_allows(client: FlaskClient) -> None:
    headers = {"X-Request-Timeout-Ms": "60000"}
    late = Caller(time.monotonic() - 31, time.monotonic() - 1)
    path = "/v1/models/half_plus_two:predict"
    assert error(client.post(path, data=ROW, headers=headers, environ_overrides={CALLER: late}), 504)


def test_a_request_whose_caller_hung_up_is_not_looked_at(client: FlaskClient) -> None:
    gone = {CALLER: Caller(gone=True)}
    response = client.post("/v1/models/half_plus_two:predict", data="not even JSON", environ_overrides=gone)
    assert error(response, 499) == "The caller hung up before the request was computed"


@pytest.mark.parametrize("sent", ["", "0", "-1", "1.5", "1e3", "soon", "86400001", "9" * 30, " 5", "\u0665"])
def test_a_time_that_is_none_says_what_to_give(client: FlaskClient, sent: str) -> None:
    path = "/v1/models/half_plus_two:predict"
    response = client.post(path, data=ROW, environ_overrides={"HTTP_X_REQUEST_TIMEOUT_MS": sent})
    assert "give a whole number of milliseconds from 1 to 86400000" in error(response)
