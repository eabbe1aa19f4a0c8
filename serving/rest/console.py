"""The console: a page for people at `/`, its files, and the two things it asks for that no protocol says."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, request

from serving import __version__, metrics
from serving.errors import NotFound
from serving.inference import Inference, ModelChoice
from serving.models.lifecycle import VersionStatus
from serving.models.signature import Signature
from serving.rest.activity import activity
from serving.rest.application import Answer, json_answer
from serving.rest.loaded import LoadedVersion, describe_handle, loaded_versions
from serving.rest.samples import as_json, has_rows, sample_example, sample_inputs
from serving.rest.static import StaticFiles, policy
from serving.rest.trace import malformed
from serving.tensors.spec import TensorSpec

_FILES = Path(__file__).parent.parent / "console"
_VALUE_BYTES = 10
"""What a pixel's value takes in a body at most, with its share of commas and brackets."""


def blueprint(models: Inference, metrics_directory: Path | None, max_body_bytes: int) -> Blueprint:
    """The routes of the console."""
    console = Blueprint("console", __name__)
    files = StaticFiles(_FILES, policy())

    @console.get("/")
    def page() -> Answer:
        if "text/html" not in request.headers.get("Accept", ""):
            raise NotFound(malformed())
        answer = files.answer("index.html")
        answer.vary("Accept")
        return answer

    @console.get("/console/<name>")
    def file(name: str) -> Answer:
        return files.answer(name)

    @console.get("/console/models")
    def list_models() -> Answer:
        return _fresh({"server": {"version": __version__}, "models": _models(models)})

    @console.get("/console/models/<path:name>/versions/<int:version>")
    def show_version(name: str, version: int) -> Answer:
        with models.borrow(ModelChoice(name, version)) as handle:
            details = _details(describe_handle(handle))
        return _fresh({"most_values": max_body_bytes // _VALUE_BYTES, **details})

    @console.get("/console/activity")
    def show_activity() -> Answer:
        samples = (sample for family in metrics.collect(metrics_directory) for sample in family.samples)
        seen = set(models.models())
        return _fresh({name: its for name, its in activity(samples).items() if name in seen})

    return console


def _fresh(document: Any) -> Answer:
    answer = json_answer(orjson.dumps(document))
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _models(models: Inference) -> list[dict[str, Any]]:
    loaded = {(its.model, its.version): its for its in loaded_versions(models)}
    return [
        {"name": name, "versions": [_version(status, loaded.get((name, status.version))) for status in statuses]}
        for name, (statuses, *_) in models.models().items()
    ]


def _version(status: VersionStatus, loaded: LoadedVersion | None) -> dict[str, Any]:
    """The state of a version; where it is loaded also its size and what requests may call it by."""
    shown = {
        "version": str(status.version),
        "state": status.state,
        "error": status.error_message,
        "quarantined": status.quarantined,
    }
    if loaded is None:
        return shown
    return shown | {
        "is_latest": loaded.is_latest,
        "labels": loaded.labels,
        "size_bytes": loaded.about.size_bytes,
        "signatures": list(loaded.callable_signatures()),
    }


def _details(version: LoadedVersion) -> dict[str, Any]:
    """What a form for each signature of a version needs to know."""
    signatures = version.callable_signatures().values()
    return {"class_labels": version.about.labels, "signatures": [_signature(version, its) for its in signatures]}


def _signature(version: LoadedVersion, signature: Signature) -> dict[str, Any]:
    sample = sample_inputs(version, signature)
    methods = version.methods(signature)
    return {
        "name": signature.name,
        "methods": methods,
        "has_rows": has_rows(signature.inputs) and has_rows(signature.outputs),
        "inputs": _tensors(signature.inputs.values()),
        "outputs": _tensors(signature.outputs.values()),
        "features": _tensors(signature.features.values()),
        "sample": sample and {name: as_json(array) for name, array in sample.items()},
        "example": sample_example(version, signature) if signature.features else None,
        "is_warm": bool(version.about.samples),
    }


def _tensors(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": spec.name, "dtype": spec.dtype.name, "kind": spec.dtype.kind.name.lower(), "shape": spec.shape}
        for spec in specs
        if spec.dtype is not None
    ]
