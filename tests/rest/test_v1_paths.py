"""Which paths and methods mean something, and what is said of the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.rest.api import error, result, serve

HALF = "/v1/models/half_plus_two"
TWO_AND_A_HALF = {"predictions": [2.5]}
RESERVED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
RESERVED_DECODED = "!#$%&'()*+,/:;=?@[]"
ROW = b'{"instances": [1.0]}'


@pytest.fixture(scope="module")
def as_upstream(half_plus_two: Path) -> Iterator[FlaskClient]:
    """A client of an app that answers malformed requests with upstream's status."""
    with serve(model_dir=half_plus_two, upstream_status=True) as client:
        yield client


# Paths that mean something.


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/models/half_plus_two:predict", 2.5),
        ("/V1/Models/half_plus_two:predict", 2.5),
        ("/v1/models/half_plus_two:predict?verbose=1", 2.5),
        ("/v1/models/half%5Fplus%5ftwo:predict", 2.5),
        ("/v1/models/half_plus_two/versions/1:predict", 2.5),
        ("/v1/models/half_plus_two/versions/0001:predict", 2.5),
        ("/v1/models/half_plus_two/VERSIONS/1:predict", 2.5),
        ("/v1/models/times:predict", 12.0),
        ("/v1/models/times/versions/7:predict", 7.0),
        ("/v1/models/times/versions/12:predict", 12.0),
        ("/v1/models/times/labels/stable:predict", 7.0),
        ("/v1/models/times/labels/st%61ble:predict", 7.0),
        (f"/v1/models/times/labels/new{RESERVED}:predict", 12.0),
    ],
)
def test_a_path_names_a_model_and_perhaps_a_version_or_a_label(client: FlaskClient, path: str, answer: float) -> None:
    response = client.post(path, data=ROW)
    assert result(response) == {"predictions": [answer]}


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("times", "12"),
        ("times/versions/7", "7"),
        ("times/versions/007", "7"),
        ("times/labels/stable", "7"),
    ],
)
def test_the_answer_says_which_version_ran(client: FlaskClient, path: str, version: str) -> None:
    assert client.post(f"/v1/models/{path}:predict", data=ROW).headers["X-Model-Version"] == version
    assert client.get(f"/v1/models/{path}/metadata").headers["X-Model-Version"] == version


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("nobody", "Latest(nobody)"),
        ("HALF_PLUS_TWO", "Latest(HALF_PLUS_TWO)"),
        ("nobody/versions/50", "Specific(nobody, 50)"),
        ("times/versions/99", "Specific(times, 99)"),
        ("times/versions/8", "Specific(times, 8)"),
        ("times/versions/9223372036854775807", "Specific(times, 9223372036854775807)"),
        (f"model{RESERVED}", f"Latest(model{RESERVED_DECODED})"),
        ("%2F", "Latest(/)"),
        ("a%20b", "Latest(a b)"),
        ("a+b", "Latest(a+b)"),
        ("a%zz%", "Latest(a%zz%)"),
        ("%E2%82%AC", "Latest(€)"),
        ("metadata", "Latest(metadata)"),
    ],
)
def test_a_model_or_a_version_that_is_not_there_is_not_found(client: FlaskClient, path: str, wanted: str) -> None:
    said = f"Servable not found for request: {wanted}"
    assert error(client.post(f"/v1/models/{path}:predict", data=ROW), 404) == said
    assert error(client.get(f"/v1/models/{path}/metadata"), 404) == said


@pytest.mark.parametrize("path", ["times/labels/no", "times/labels/STABLE", "nobody/labels/no"])
@pytest.mark.parametrize("end", [":predict", "/metadata"])
def test_an_unknown_label_is_an_error_in_the_request(client: FlaskClient, path: str, end: str) -> None:
    method = "POST" if end.startswith(":") else "GET"
    said = error(client.open(f"/v1/models/{path}{end}", method=method, data=ROW))
    assert said == f"Unrecognized servable version label: {path.rpartition('/')[2]}"


@pytest.mark.parametrize("version", ["9223372036854775808", "18446744073709551615", "9" * 1000])
@pytest.mark.parametrize("end", [":predict", ":regress", "", "/metadata"])
def test_a_version_beyond_64_bits_is_no_number(client: FlaskClient, version: str, end: str) -> None:
    method = "POST" if end.startswith(":") else "GET"
    said = error(client.open(f"/v1/models/nobody/versions/{version}{end}", method=method))
    assert said == f"Failed to convert version: {version} to numeric."


@pytest.mark.parametrize("path", ["versions/5", "labels/a", "labels/a/metadata"])
def test_a_version_without_a_model_is_refused(client: FlaskClient, path: str) -> None:
    assert error(client.get(f"/v1/models/{path}")) == "Missing model name in request."


# Paths that mean nothing.

NOTHING_TO_POST = [
    "/v1/foo",
    "/v1/models/",
    "/v1/models/foo/",
    "/v1/models/foo:",
    "/v1/models/foo:explain",
    "/v1/models/foo:PREDICT",
    "/v1/models/foo:predict/",
    "/v1/models/foo:predict:predict",
    "/v1/models/:predict",
    "/v1/models//:predict",
    "/v1//models/foo:predict",
    "/v1/models/a/b:predict",
    "/v1/models/foo%3Apredict/",
    "/v1/models/foo/version/50:predict",
    "/v1/models/foo/versions/HELLO:regress",
    "/v1/models/foo/versions/-1:predict",
    "/v1/models/foo/versions/1.0:predict",
    "/v1/models/foo/versions/:predict",
    "/v1/models/foo/versions/%31:predict",
    "/v1/models/foo/label/some_label:regress",
    "/v1/models/foo/labels/:predict",
    "/v1/models/foo/versions/50/labels/some_label:regress",
]
NOTHING_TO_GET = [
    "/v1/",
    "/v1/foo",
    "/v1/models/",
    "/v1/models/foo/",
    "/v1/models/debug/model_name",
    "/v1/models/foo/versions",
    "/v1/models/foo/versions/x",
    "/v1/models/foo/labels/",
    "/v1/models/foo/versions/1/labels/x",
    "/v1/models/foo/metadata/",
    "/v1/models//metadata",
]
NOTHING = [("POST", path) for path in NOTHING_TO_POST] + [("GET", path) for path in NOTHING_TO_GET]
WRONG_METHOD = [
    ("POST", "/v1/models", "GET, HEAD"),
    ("POST", "/v1/models/foo", "GET, HEAD"),
    ("POST", "/v1/models/foo/metadata", "GET, HEAD"),
    ("POST", "/v1/models/foo%3Apredict", "GET, HEAD"),
    ("GET", "/v1/models/foo:predict", "POST"),
    ("HEAD", "/v1/models/foo:predict", "POST"),
    ("PUT", "/v1/models/foo:predict", "POST"),
    ("DELETE", "/v1/models/foo/versions/1:classify", "POST"),
    ("PATCH", "/v1/models/foo", "GET, HEAD"),
    ("TRACE", "/v1/models/foo", "GET, HEAD"),
    ("BREW", "/v1/models/foo:predict", "POST"),
]


@pytest.mark.parametrize(("method", "path"), NOTHING)
def test_a_path_that_means_nothing_is_not_found(client: FlaskClient, method: str, path: str) -> None:
    assert error(client.open(path, method=method, data=ROW), 404) == f"Malformed request: {method} {path}"


@pytest.mark.parametrize(("method", "path", "allowed"), WRONG_METHOD)
def test_a_path_that_means_something_says_which_methods_it_takes(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    if method != "HEAD":
        assert error(response, 405) == f"Malformed request: {method} {path}"


@pytest.mark.parametrize(("method", "path"), NOTHING + [(method, path) for method, path, _ in WRONG_METHOD])
def test_both_are_400_where_upstreams_status_is_set(as_upstream: FlaskClient, method: str, path: str) -> None:
    response = as_upstream.open(path, method=method, data=ROW)
    assert response.status_code == 400
    if method != "HEAD":
        assert error(response) == f"Malformed request: {method} {path}"


def test_the_rest_is_the_same_where_upstreams_status_is_set(as_upstream: FlaskClient) -> None:
    assert result(as_upstream.post("/v1/models/model:predict", data=ROW)) == TWO_AND_A_HALF
    assert error(as_upstream.post("/v1/models/nobody:predict", data=ROW), 404)
    assert error(as_upstream.get("/v1/models")) == "Missing model name in request."
    assert as_upstream.head("/v1/models/model").status_code == 400
    assert error(as_upstream.get("/index"), 404) == "Malformed request: GET /index"
    assert error(as_upstream.get("/v1"), 404) == "Malformed request: GET /v1"
    assert error(as_upstream.put("/healthz"), 405) == "Malformed request: PUT /healthz"


@pytest.mark.parametrize("path", ["/", "/index", "/v1", "/v2x", "/v1models", "/%76%31/models/foo"])
def test_what_is_outside_the_api_is_not_found(client: FlaskClient, path: str) -> None:
    assert error(client.get(path), 404) == f"Malformed request: GET {path}"


def test_a_query_string_is_no_part_of_what_is_repeated(client: FlaskClient) -> None:
    assert error(client.get("/v1/foo?secret=1"), 404) == "Malformed request: GET /v1/foo"


def test_head_answers_like_get_without_a_body(client: FlaskClient) -> None:
    for path in (HALF, f"{HALF}/metadata", "/v1/models", "/healthz"):
        response = client.head(path)
        assert response.status_code == 200
        assert response.content_length == len(client.get(path).data)
        assert response.data == b""


def test_a_target_with_a_host_is_taken_apart(client: FlaskClient) -> None:
    target = "http://example.com/v1/models/half_plus_two:predict?a=b"
    environ = {"RAW_URI": target, "REQUEST_URI": target}
    response = client.post("/v1/models/half_plus_two:predict", data=ROW, environ_overrides=environ)
    assert result(response) == TWO_AND_A_HALF


def test_a_server_that_does_not_hand_on_the_target_still_serves(client: FlaskClient) -> None:
    environ = {"RAW_URI": "", "REQUEST_URI": ""}
    response = client.post("/v1/models/half_plus_two:predict", data=ROW, environ_overrides=environ)
    assert result(response) == TWO_AND_A_HALF


def test_options_that_are_no_preflight_are_refused_without_a_word(as_upstream: FlaskClient) -> None:
    response = as_upstream.options("/v1/models/model:predict")
    assert (response.status_code, response.data) == (400, b"")
