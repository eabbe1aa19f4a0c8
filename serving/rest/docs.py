"""The OpenAPI document, and a page that shows it with Swagger UI."""

from collections.abc import Collection
from pathlib import Path

import orjson
from flask import Blueprint, current_app

from serving.inference import Inference
from serving.rest.application import Answer, json_answer
from serving.rest.loaded import LoadedVersion, loaded_versions
from serving.rest.static import StaticFiles, policy
from serving.settings import Settings

_FILES = Path(__file__).parent.parent / "swagger_ui"


def blueprint(models: Inference, settings: Settings) -> Blueprint:
    """The routes of the documentation."""
    docs = Blueprint("docs", __name__)
    made = _Documents(settings)
    files = StaticFiles(_FILES, policy(img_src="'self' data:"))  # its icons are written in its style sheet

    @docs.get("/openapi.json")
    def document() -> Answer:
        return json_answer(made.of(loaded_versions(models), current_app.blueprints))

    @docs.get("/docs")
    def page() -> Answer:
        return files.answer("index.html")

    @docs.get("/docs/<name>")
    def file(name: str) -> Answer:
        return files.answer(name)

    return docs


class _Documents:
    """The last document that was made, for as long as the same versions are loaded. May be used by several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last: tuple[list[LoadedVersion], bytes] = ([], b"")

    def of(self, versions: list[LoadedVersion], protocols: Collection[str]) -> bytes:
        """The document of these versions as JSON."""
        described, body = self._last
        if not body or described != versions:
            from serving.rest.openapi.document import build  # which takes longer to import than Flask, and few ask

            body = orjson.dumps(build(versions, protocols, self._settings))
            self._last = (versions, body)
        return body
