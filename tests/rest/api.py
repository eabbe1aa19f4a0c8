"""A client of the REST API inside the test's own process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from serving.settings import Settings


@contextmanager
def serve(**settings: Any) -> Iterator[FlaskClient]:
    """A client of an app with these settings, each of its models tried; closed at the end.

    It looks for models once, unless told otherwise, so that it stays as it is.
    """
    app = create_app(Settings(**{"access_log": False, "model_poll_seconds": 0.0, **settings}))
    try:
        assert app.extensions["model_manager"].wait_until_settled(60)
        yield app.test_client()
    finally:
        app.extensions["services"].close()


def text_of(body: Any) -> str:
    """A body as JSON, unless it is text already."""
    return body if isinstance(body, str) else json.dumps(body)


def post(client: FlaskClient, path: str, body: Any) -> TestResponse:
    """The answer to a POST of a body, below /v1/models/."""
    return client.post(f"/v1/models/{path}", data=text_of(body))


def predict(client: FlaskClient, model: str, body: Any, signature: str = "") -> TestResponse:
    """The answer of a model to a predict request; `body` is the object, or its text, without the signature."""
    text = text_of(body)
    if signature:
        text = f'{{"signature_name": "{signature}", {text[1:]}'
    return post(client, f"{model}:predict", text)


def result(response: TestResponse) -> Any:
    """The body of an answer that must be a success."""
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    return json.loads(response.data)


def error(response: TestResponse, status: int = 400) -> str:
    """The text of an answer that must be an error, and nothing but `{"error": "..."}`."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/json"
    body = json.loads(response.data)
    assert list(body) == ["error"]
    text: str = body["error"]
    return text
