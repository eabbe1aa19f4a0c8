"""The files that browsers get: their headers, and that they are sent again only when they changed."""

import gzip
import re

import pytest
from flask.testing import FlaskClient

from tests.rest.api import error

BUNDLE = "/docs/swagger-ui-bundle.js"


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/docs", "text/html; charset=utf-8"),
        (BUNDLE, "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
    ],
)
def test_a_file_has_its_type_and_may_do_only_what_it_needs(client: FlaskClient, path: str, content_type: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == content_type
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy


def test_a_file_that_the_browser_has_is_not_sent_again(client: FlaskClient) -> None:
    first = client.get(BUNDLE)
    again = client.get(BUNDLE, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert client.get(BUNDLE, headers={"If-None-Match": '"another"'}).status_code == 200


def test_a_file_is_compressed_once_for_browsers_that_take_that(client: FlaskClient) -> None:
    plain = client.get(BUNDLE)
    zipped = client.get(BUNDLE, headers={"Accept-Encoding": "gzip, br"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.data) == plain.data
    assert zipped.headers["ETag"] != plain.headers["ETag"]
    assert zipped.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path", ["/docs/README.md", "/docs/absent.js", "/docs/..%2F..%2Fapp.py", "/docs/%2e%2e/app.py"]
)
def test_nothing_else_of_the_directory_is_served(client: FlaskClient, path: str) -> None:
    assert error(client.get(path), 404).startswith("Malformed request: GET /docs/")


def test_pages_ask_nobody_else(client: FlaskClient) -> None:
    assert not re.findall(r"https?://", client.get("/docs").text)
