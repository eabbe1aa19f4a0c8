"""What is about the server and not about a protocol: health, readiness and metrics."""

from pathlib import Path

import orjson
from flask import Blueprint

from serving import metrics
from serving.inference import Inference
from serving.rest.application import Answer, json_answer


def blueprint(models: Inference, metrics_directory: Path | None) -> Blueprint:
    """The routes of the site."""
    site = Blueprint("site", __name__)

    @site.get("/healthz")
    def health() -> Answer:
        return json_answer(b'{"status":"ok"}')

    @site.get("/readyz")
    def readiness() -> Answer:
        unready = models.unready()
        body = {"status": "not ready", "models": unready} if unready else {"status": "ready"}
        return json_answer(orjson.dumps(body), 503 if unready else 200)

    @site.get("/metrics")
    @site.get("/monitoring/prometheus/metrics")
    def prometheus() -> Answer:
        return Answer(metrics.render(metrics_directory), headers={"Content-Type": metrics.CONTENT_TYPE})

    return site
