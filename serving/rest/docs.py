"""The OpenAPI document, and a page that shows it with Swagger UI."""

from pathlib import Path

import orjson
from flask import Blueprint, current_app

from serving.inference import Inference
from serving.rest.application import Answer, json_answer
from serving.rest.loaded import loaded_versions
from serving.rest.openapi.document import build
from serving.rest.static import StaticFiles, policy
from serving.settings import Settings

_FILES = Path(__file__).parent.parent / "swagger_ui"


def blueprint(models: Inference, settings: Settings) -> Blueprint:
    """The routes of the documentation."""
    docs = Blueprint("docs", __name__)
    files = StaticFiles(_FILES, policy(img_src="'self' data:"))  # its icons are written in its style sheet

    @docs.get("/openapi.json")
    def document() -> Answer:
        return json_answer(orjson.dumps(build(loaded_versions(models), current_app.blueprints, settings)))

    @docs.get("/docs")
    def page() -> Answer:
        return files.answer("index.html")

    @docs.get("/docs/<name>")
    def file(name: str) -> Answer:
        return files.answer(name)

    return docs
