"""What is about the server and not about a protocol: health, readiness and metrics."""

from collections.abc import Callable
from pathlib import Path

import orjson
from flask import Blueprint

from serving import metrics
from serving.access.grants import OPEN, Need, Right
from serving.inference import Inference
from serving.rest.application import Answer, json_answer, without_context

_NEEDED = {
    "/healthz": OPEN,
    "/readyz": OPEN,
    "/metrics": Need(Right.METRICS),
    "/monitoring/prometheus/metrics": Need(Right.METRICS),
}


def needed(path: str) -> Need | None:
    """What a caller must be granted for a path as it was sent; None for one that means nothing here."""
    return _NEEDED.get(path)


def blueprint(
    models: Inference, metrics_directory: Path | None, sees: Callable[[str], bool] | None = None
) -> Blueprint:
    """The routes of the site. `sees` says which models exist for the caller, where that is not all."""
    site = Blueprint("site", __name__)

    @site.get("/healthz")
    @without_context
    def health() -> Answer:
        return json_answer(b'{"status":"ok"}')

    @site.get("/readyz")
    @without_context
    def readiness() -> Answer:
        unready = models.unready()
        body = {"status": "not ready", "models": unready} if unready else {"status": "ready"}
        return json_answer(orjson.dumps(body), 503 if unready else 200)

    @site.get("/metrics")
    @site.get("/monitoring/prometheus/metrics")
    @without_context
    def prometheus() -> Answer:
        return Answer(metrics.render(metrics_directory, sees), headers={"Content-Type": metrics.CONTENT_TYPE})

    return site
