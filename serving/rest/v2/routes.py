"""The routes of the Open Inference Protocol.

    GET  /v2, /v2/health/live, /v2/health/ready
    GET  /v2/models/NAME[/versions/V][/ready, /config, /stats], /v2/models/stats
    POST /v2/models/NAME[/versions/V]/infer
    POST /v2/repository/index, /v2/repository/models/NAME/load, /unload

The path is matched as it was sent, since NAME is percent-decoded only after it has been taken apart.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson
from flask import Blueprint

from serving import __version__
from serving.errors import MethodNotAllowed, NotFound, Unavailable
from serving.inference import Inference, ModelChoice
from serving.rest import schemas
from serving.rest.application import Answer, json_answer
from serving.rest.prefix import everything_below
from serving.rest.remembered import remembered
from serving.rest.room import Room
from serving.rest.trace import http_method, malformed, trace
from serving.rest.v2 import metadata
from serving.rest.v2.choice import choose
from serving.rest.v2.infer import Infer
from serving.rest.v2.repository import index
from serving.rest.v2.schemas import Control, Index
from serving.rest.v2.statistics import model_statistics
from serving.settings import Settings
from serving.tensors.parse import parse

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "schedule_policy",
    "statistics",
)
CONTROL_EXTENSIONS = ("model_repository", "model_repository(unload_dependents)")

SERVER_NAME = "savedmodel-server"
_MODEL = r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_INFER = re.compile(rf"{_MODEL}/infer")
_INDEX = Index()
_CONTROL = Control()

View = Callable[[re.Match[str]], Answer]


def blueprint(models: Inference, settings: Settings, room: Room) -> Blueprint:
    """The routes of the protocol."""
    return everything_below("v2", r"v2", _Protocol(models, settings, room).answer)


class _Protocol:
    def __init__(self, models: Inference, settings: Settings, room: Room) -> None:
        self._models = models
        self._settings = settings
        self._room = room
        self._infer = Infer(models, settings, room)
        look, do = ("GET", "HEAD"), ("POST",)
        routes: tuple[tuple[str, tuple[str, ...], View], ...] = (
            (r"/v2/health/live", look, self._live),
            (r"/v2/health/ready", look, self._ready),
            (r"/v2/?", look, self._server),
            (r"/v2/models/stats", look, self._all_statistics),
            (rf"{_MODEL}/ready", look, self._model_ready),
            (rf"{_MODEL}/config", look, self._config),
            (rf"{_MODEL}/stats", look, self._statistics),
            (_MODEL, look, self._metadata),
            (r"/v2/repository/index", do, self._index),
            (r"/v2/repository/models/(?P<name>[^/]+)/(?P<verb>load|unload)", do, self._control_model),
        )
        self._routes = [(re.compile(pattern), methods, view) for pattern, methods, view in routes]

    def answer(self) -> Answer:
        """Answer the request in hand."""
        path = trace().path
        if choice := _understand_infer(path):
            _check_method(("POST",))
            return self._infer.answer(choice)
        for pattern, methods, view in self._routes:
            if match := pattern.fullmatch(path):
                _check_method(methods)
                return view(match)
        raise NotFound(malformed())

    def _live(self, match: re.Match[str]) -> Answer:
        return _json({"live": True, "ready": not self._models.unready()})

    def _ready(self, match: re.Match[str]) -> Answer:
        unready = self._models.unready()
        if unready:
            reasons = [f"{name}: {reason}" if name else reason for name, reason in unready.items()]
            raise Unavailable("The server is not ready: " + "; ".join(reasons))
        return _json({"live": True, "ready": True})

    def _server(self, match: re.Match[str]) -> Answer:
        extensions = [*EXTENSIONS, *(CONTROL_EXTENSIONS if self._models.is_controlled else ())]
        return _json({"name": SERVER_NAME, "version": __version__, "extensions": extensions})

    def _metadata(self, match: re.Match[str]) -> Answer:
        choice = choose(match)
        with self._models.borrow(choice) as handle:
            return _json(metadata.model_metadata(handle, self._models.available(ModelChoice(choice.name))))

    def _model_ready(self, match: re.Match[str]) -> Answer:
        choice = choose(match)
        self._models.available(choice)
        return _json({"name": choice.name, "ready": True})

    def _config(self, match: re.Match[str]) -> Answer:
        with self._models.borrow(choose(match)) as handle:
            return _json(metadata.model_config(handle))

    def _statistics(self, match: re.Match[str]) -> Answer:
        choice = choose(match)
        return self._statistics_of([(choice.name, version) for version in self._models.available(choice)])

    def _all_statistics(self, match: re.Match[str]) -> Answer:
        return self._statistics_of(self._models.all_available())

    def _statistics_of(self, versions: list[tuple[str, int]]) -> Answer:
        entries = [model_statistics(*version, self._models.statistics(*version)) for version in versions]
        return _json({"model_stats": entries})

    def _index(self, match: re.Match[str]) -> Answer:
        only_ready = schemas.load(_INDEX, self._document())["ready"]
        statuses = {name: statuses for name, (statuses, *_) in self._models.models().items()}
        return _json(index(statuses, self._models.unloaded(), only_ready))

    def _control_model(self, match: re.Match[str]) -> Answer:
        trace().method = match["verb"]
        schemas.load(_CONTROL, self._document())
        order = self._models.load if match["verb"] == "load" else self._models.unload
        order(unquote(match["name"]))
        return json_answer(b"")

    def _document(self) -> Any:
        """The JSON of a small body; an empty one is an empty object."""
        body = self._room.read_text()
        with self._room.reading() as objects:
            objects.make_room(body)
            return parse(body) if body else {}


def _check_method(allowed: tuple[str, ...]) -> None:
    if http_method() not in allowed:
        raise MethodNotAllowed(malformed(), allowed)


@remembered
def _understand_infer(path: str) -> ModelChoice | None:
    """The model that a path runs; None for a path of another kind."""
    match = _INFER.fullmatch(path)
    return choose(match) if match else None


def _json(document: Any) -> Answer:
    return json_answer(orjson.dumps(document))
