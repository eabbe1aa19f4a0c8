"""The blueprint of a protocol that takes its paths apart itself, since names are percent-decoded only after that."""

from collections.abc import Callable

from flask import Blueprint
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter, Rule

from serving.rest.application import Answer, without_context


def everything_below(name: str, pattern: str, answer: Callable[[], Answer]) -> Blueprint:
    """Have `answer` answer every method of every path whose first segment matches the pattern.

    Which of them mean something, and which methods a path takes, is known only once the path is understood.
    """
    api = Blueprint(name, __name__)
    converter = type("AnyPath", (BaseConverter,), {"regex": rf"{pattern}(?:/.*)?", "part_isolating": False})

    @api.endpoint(f"{name}.dispatch")
    @without_context
    def dispatch(path: str) -> Answer:
        return answer()

    @api.record_once
    def add_rule(state: BlueprintSetupState) -> None:
        state.app.url_map.converters[name] = converter
        state.app.url_map.add(Rule(f"/<{name}:path>", endpoint=f"{name}.dispatch"))

    return api
