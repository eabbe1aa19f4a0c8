"""What the models answered until now, of all workers together, from the server's own metrics.

    {"digits": {"requests": {"2": {"200": 41, "400": 1}}, "request_seconds": HISTOGRAM, "run_seconds": {"2": HISTOGRAM},
                "rows": HISTOGRAM, "batch_rows": HISTOGRAM}}

with HISTOGRAM as `{"count": 3, "sum": 0.5, "buckets": [[0.001, 1], [0.01, 3]]}`, whose buckets count what is at most so
large. Numbers only grow, so the difference of two looks is what happened between them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Protocol


class Sample(Protocol):
    """One number of a metric."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> dict[str, str]: ...

    @property
    def value(self) -> float: ...


Activity = dict[str, dict[str, Any]]


def activity(samples: Iterable[Sample]) -> Activity:
    """The activity of each model that was asked to run, by name."""
    models: Activity = defaultdict(_nothing)
    for sample in samples:
        for metric, add in _METRICS.items():
            if sample.name.startswith(metric) and sample.labels.get("model"):
                add(models[sample.labels["model"]], sample.labels, sample.name.removeprefix(metric), sample.value)
    return dict(models)


def _nothing() -> dict[str, Any]:
    return {
        "requests": {},
        "request_seconds": _histogram(),
        "run_seconds": {},
        "rows": _histogram(),
        "batch_rows": _histogram(),
    }


def _histogram() -> dict[str, Any]:
    return {"count": 0, "sum": 0.0, "buckets": []}


Add = Callable[[dict[str, Any], dict[str, str], str, float], None]


def _add_requests(model: dict[str, Any], labels: dict[str, str], part: str, value: float) -> None:
    if labels["method"] and part == "_total":
        by_status = model["requests"].setdefault(labels["version"], {})
        by_status[labels["status"]] = by_status.get(labels["status"], 0) + int(value)


def _add_request_seconds(model: dict[str, Any], labels: dict[str, str], part: str, value: float) -> None:
    if labels["method"]:
        _add(model["request_seconds"], labels, part, value)


def _add_run_seconds(model: dict[str, Any], labels: dict[str, str], part: str, value: float) -> None:
    _add(model["run_seconds"].setdefault(labels["version"], _histogram()), labels, part, value)


def _adder(key: str) -> Add:
    return lambda model, labels, part, value: _add(model[key], labels, part, value)


def _add(histogram: dict[str, Any], labels: dict[str, str], part: str, value: float) -> None:
    """Add one sample, of a histogram that may be the sum of several."""
    if part == "_count":
        histogram["count"] += int(value)
    elif part == "_sum":
        histogram["sum"] += value
    elif part == "_bucket" and labels["le"] != "+Inf":
        buckets = dict(histogram["buckets"])
        buckets[float(labels["le"])] = buckets.get(float(labels["le"]), 0) + int(value)
        histogram["buckets"] = sorted(buckets.items())


_METRICS: dict[str, Add] = {
    "serving_requests": _add_requests,
    "serving_request_seconds": _add_request_seconds,
    "serving_run_seconds": _add_run_seconds,
    "serving_rows": _adder("rows"),
    "serving_batch_rows": _adder("batch_rows"),
}
