"""Health, readiness and metrics."""

from collections.abc import Sequence
from typing import Any

from apispec import APISpec

from serving.rest.loaded import LoadedVersion
from serving.rest.openapi.answers import Health, Readiness
from serving.rest.openapi.operations import answer
from serving.settings import Settings

_METRICS = {"description": "Metrics of all workers.", "content": {"text/plain": {"schema": {"type": "string"}}}}


def describe(spec: APISpec, versions: Sequence[LoadedVersion], settings: Settings) -> None:
    """Add the routes of the site."""
    spec.tag({"name": "server", "description": "Health, readiness and metrics"})
    ready = answer(Readiness, "Every model is available.", ())
    not_ready = answer(Readiness, "Some model is not; `models` says why.", ())["200"]
    _add(spec, "/healthz", "Whether the process works", answer(Health, "It does.", ()))
    _add(spec, "/readyz", "Whether every model is available", ready | {"503": not_ready})
    _add(spec, "/metrics", "Metrics in Prometheus's text format", {"200": _METRICS})


def _add(spec: APISpec, path: str, summary: str, responses: dict[str, Any]) -> None:
    operation = {"tags": ["server"], "operationId": path.strip("/"), "summary": summary, "responses": responses}
    spec.path(path, operations={"get": operation})
