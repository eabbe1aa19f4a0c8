"""Requests that somebody's browser may have been made to send."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from serving.errors import Misdirected, UnsupportedMediaType
from serving.rest.browsers import Browsers
from serving.settings import Settings
from tests.rest.api import error, result, serve

FORMS = [None, "", "text/plain", "TEXT/PLAIN; charset=utf-8", "text/plain;application/json"]
FORMS += ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
OWN, FOREIGN, LISTED = "http://localhost:5000", "https://evil.example", "https://app.example"


def check(settings: Settings | None = None, path: str = "/v1/models", **environ: str | None) -> None:
    """Check a GET of http://localhost:5000 with these changes to its WSGI environ."""
    sent = {"REQUEST_METHOD": "GET", "HTTP_HOST": "localhost:5000"} | environ
    browsers = Browsers(settings or Settings())
    for _ in range(2):  # what is known already is judged as before
        browsers.check({name: value for name, value in sent.items() if value is not None}, path)


# Names.


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:5000", "[::1]", "[::1]:5000", "localhost."]
)
def test_a_server_of_this_machine_answers_to_its_names(host: str) -> None:
    check(HTTP_HOST=host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "0.0.0.0",
        "localhost@evil.example",
    ],
)
def test_it_does_not_answer_to_others_and_says_which_setting_would_change_that(host: str) -> None:
    with pytest.raises(Misdirected, match="name it in SERVING_ALLOWED_HOSTS"):
        check(HTTP_HOST=host)


def test_a_request_without_a_host_is_not_from_a_browser() -> None:
    check(HTTP_HOST=None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_probes_ask_by_any_name(path: str) -> None:
    check(path=path, HTTP_HOST="10.0.0.7:5000")


@pytest.mark.parametrize("host", ["models.example:5000", "MODELS.example", "localhost", "[2001:db8::1]:5000"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_more_names_can_be_given(address: str, host: str) -> None:
    settings = Settings(host=address, allowed_hosts=("models.example", "2001:db8::1"))
    check(settings, HTTP_HOST=host)
    with pytest.raises(Misdirected):
        check(settings, HTTP_HOST="evil.example")


@pytest.mark.parametrize(
    "settings", [Settings(host="0.0.0.0"), Settings(host="10.0.0.7"), Settings(allowed_hosts=("*",))]
)
def test_a_server_that_others_reach_answers_to_any_name(settings: Settings) -> None:
    check(settings, HTTP_HOST="models.example")


# Forms.


@pytest.mark.parametrize("content_type", FORMS)
@pytest.mark.parametrize(
    "origin", [FOREIGN, "null", "", "http://localhost:5001", "http://localhost", "https://app.example.evil"]
)
def test_a_foreign_page_cannot_send_a_form(origin: str, content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType, match="SERVING_CORS_ORIGINS"):
        post(origin, content_type, cors_origins=(LISTED,))


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/octet-stream", "image/png", "application/json; charset=utf-8"]
)
def test_it_may_send_what_a_browser_asks_about_first(content_type: str) -> None:
    post(FOREIGN, content_type)


@pytest.mark.parametrize("content_type", FORMS)
def test_pages_of_the_server_and_of_listed_origins_may(content_type: str | None) -> None:
    post(OWN, content_type)
    post(LISTED, content_type, cors_origins=(LISTED,))
    post(FOREIGN, content_type, cors_origins=("*",))


@pytest.mark.parametrize("content_type", FORMS)
def test_what_is_not_from_a_page_may(content_type: str | None) -> None:
    post(None, content_type)


def post(origin: str | None, content_type: str | None, **settings: Any) -> None:
    check(Settings(**settings), REQUEST_METHOD="POST", HTTP_ORIGIN=origin, CONTENT_TYPE=content_type)


# Over HTTP.


def test_what_is_refused_is_an_error_like_any_other(half_plus_two: Path) -> None:
    with serve(model_dir=half_plus_two) as client:
        row, path = b'{"instances": [1.0]}', "/v1/models/model:predict"
        assert "evil.example" in error(client.get("/v1/models", headers={"Host": "evil.example"}), 421)
        form = {"Origin": FOREIGN, "Content-Type": "text/plain"}
        error(client.post(path, data=row, headers=form), 415)
        assert result(client.post(path, data=row, headers={"Origin": FOREIGN, "Content-Type": "application/json"}))


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/v1/models/nobody", "/nothing"])
def test_no_answer_is_guessed_at_or_kept(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers
