"""Every metric of the server, named once.

With a directory in PROMETHEUS_MULTIPROC_DIR the metrics of all worker processes count together. Their files are named
by the number of the worker, and one that takes the place of another counts on in its files: counts never go down, and
the files of workers that have ended do not pile up. What is counted of a version leaves when the version has long gone.

What happens for each request is only noted, and counted ten times a second: counting many at once costs an eighth.
"""

import logging
import threading
import time
import warnings
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from serving import metric_values

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST

if values.ValueClass is not values.MutexValue:  # there are several processes; this must be before any metric
    values.ValueClass = metric_values.Value
    warnings.filterwarnings("ignore", "Removal of labels", UserWarning)  # which is done here, see `forget_gone`


def count_as(worker: int, directory: Path) -> None:
    """Count as the worker of this number from now on; called in it, before it counts anything."""
    now = time.monotonic()
    for labels in metric_values.count_as(worker, directory):
        if labels.get("version"):
            _gone.setdefault((labels["model"], labels["version"]), now)  # until it is shown


def forget_worker(worker: int, directory: Path) -> None:
    """Forget what a worker that has ended had to say of itself; what it has counted stays."""
    for file in metric_values.files(directory, worker):
        if file.name.startswith("gauge_live"):
            file.unlink()


GONE_SECONDS = 60.0
"""How long the metrics of a version stay that is shown no more: who reads them once a minute sees the last of it."""

COUNT_SECONDS = 0.1
"""How often what was noted is counted."""


class BulkHistogram(Histogram):
    """A histogram that takes many values at once."""

    def observe_all(self, values: Sequence[float]) -> None:
        """Observe every value."""
        self._sum.inc(sum(values))
        for bucket, count in Counts(bisect_left(self._upper_bounds, value) for value in values).items():
            self._buckets[bucket].inc(count)


Noted = Counter | BulkHistogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536)

REQUESTS = Counter("serving_requests", "Requests answered, by HTTP status.", ["model", "version", "method", "status"])
REQUEST_SECONDS = BulkHistogram(
    "serving_request_seconds", "Time from the request read to the answer made.", ["model", "method"], buckets=_SECONDS
)
RUN_SECONDS = BulkHistogram(
    "serving_run_seconds", "Time to run a request, with the wait for a batch.", ["model", "version"], buckets=_SECONDS
)
ROWS = BulkHistogram("serving_rows", "Rows (size of dimension 0) of a request.", ["model"], buckets=_ROWS)
BATCH_ROWS = BulkHistogram("serving_batch_rows", "Rows of requests that ran together.", ["model"], buckets=_ROWS)
MODEL_STATE = Gauge(
    "serving_model_state",
    "Workers in which a model version is in this state.",
    ["model", "version", "state"],
    multiprocess_mode="livesum",
)
LOAD_SECONDS = Histogram(
    "serving_load_seconds",
    "Time to load and warm up a model version.",
    ["model"],
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)


@lru_cache(maxsize=4096)
def request_metrics(model: str, version: str, method: str, status: int) -> tuple[Counter, BulkHistogram]:
    """The counter and the latency of one kind of request, looked up once."""
    return REQUESTS.labels(model, version, method, str(status)), REQUEST_SECONDS.labels(model, method)


@lru_cache(maxsize=4096)
def run_metrics(model: str, version: int) -> tuple[BulkHistogram, BulkHistogram]:
    """The run time and the rows of one model version, looked up once."""
    return RUN_SECONDS.labels(model, str(version)), ROWS.labels(model)


def note(metric: Noted, value: float) -> None:
    """Have a value added to a counter or observed by a histogram soon."""
    _noted.append((metric, value))


def count_noted() -> None:
    """Add and observe what was noted until now."""
    values = defaultdict[Noted, list[float]](list)
    with _counting:
        for _ in range(len(_noted)):
            metric, value = _noted.popleft()
            values[metric].append(value)
    for metric, its in values.items():
        if isinstance(metric, Counter):
            metric.inc(sum(its))
        else:
            metric.observe_all(its)


_noted = deque[tuple[Noted, float]]()
_counting = threading.Lock()


class Counting:
    """Counts what is noted and forgets what is gone, in a thread of its own, until closed; twice is safe."""

    def __init__(self, forgotten: Callable[[str, int], None] = lambda model, version: None) -> None:
        """`forgotten` is called with each version whose metrics are forgotten."""
        self._forgotten = forgotten
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Count what is left and stop."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(COUNT_SECONDS):
            self._count()
        self._count()

    def _count(self) -> None:
        """Count and forget; what goes wrong once must not end it, for what is noted would pile up."""
        try:
            count_noted()
            for model, version in forget_gone(time.monotonic()):
                self._forgotten(model, version)
        except Exception:
            log.exception("metrics could not be counted")


def show_model_states(states: Mapping[tuple[str, int], str], board: object = None) -> None:
    """Set the states of all model versions that a board of this process shows; those not named have none.

    A version that no board names any more is gone, and so are its metrics after a while; see `forget_gone`.
    """
    shown = {(model, str(version)): state for (model, version), state in states.items()}
    with _showing:
        before, _shown[board] = _shown.get(board, {}), shown
        for key, state in before.items():
            if shown.get(key) != state:
                MODEL_STATE.labels(*key, state).set(0)
            if not any(key in its for its in _shown.values()):
                _gone[key] = time.monotonic()
        for key, state in shown.items():
            MODEL_STATE.labels(*key, state).set(1)
            _gone.pop(key, None)


def forget_gone(now: float) -> list[tuple[str, int]]:
    """Forget the metrics of versions that have been gone for GONE_SECONDS, and of models without any other; which."""
    with _showing:
        over = [key for key, since in _gone.items() if now - since >= GONE_SECONDS]
        if not over:
            return []
        models = {model for model, _ in over} - {
            model for model, _ in chain(_gone.keys() - set(over), *_shown.values())
        }
        _remove([{"model": model, "version": version} for model, version in over], _OF_VERSIONS)
        _remove([{"model": model} for model in models], _OF_MODELS)
        try:
            metric_values.forget(
                lambda labels: (labels.get("model"), labels.get("version")) in over or labels.get("model") in models
            )
        except OSError as error:
            log.error("metrics of versions that are gone cannot be taken out yet: %s", error)
            _gone.update(dict.fromkeys(over, now))
            return []
        for key in over:
            del _gone[key]
    return [(model, int(version)) for model, version in over]


def _remove(gone: Iterable[dict[str, str]], metrics: Iterable[Counter | Histogram | Gauge]) -> None:
    for labels, metric in product(gone, metrics):
        metric.remove_by_labels(labels)
    request_metrics.cache_clear()
    run_metrics.cache_clear()


_OF_VERSIONS = (REQUESTS, RUN_SECONDS, MODEL_STATE)
_OF_MODELS = (REQUEST_SECONDS, ROWS, BATCH_ROWS, LOAD_SECONDS)
_shown: dict[object, dict[tuple[str, str], str]] = {}
"""What each board shows: the state of each version, by its model and its number."""
_gone: dict[tuple[str, str], float] = {}
"""Since when versions that still have metrics are shown no more."""
_showing = threading.Lock()


def render(directory: Path | None, sees: Callable[[str], bool] | None = None) -> bytes:
    """All metrics in Prometheus's text format: of every worker whose files are in `directory`, else of this process.

    With `sees`, without the samples of models for whose names it is false.
    """
    source = _source(directory)
    if directory is None and sees is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    registry.register(source if sees is None else _SeenCollector(source, sees))
    return generate_latest(registry)


def collect(directory: Path | None) -> Iterable[Metric]:
    """All metrics as objects."""
    return _source(directory).collect()


def _source(directory: Path | None) -> "_Collector":
    count_noted()
    return REGISTRY if directory is None else _WorkersCollector(directory)


class _Collector(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class _SeenCollector:
    """Leaves out the samples of models that the caller does not see."""

    def __init__(self, source: _Collector, sees: Callable[[str], bool]) -> None:
        self._source = source
        self._sees = sees

    def collect(self) -> Iterable[Metric]:
        for metric in self._source.collect():
            samples = [sample for sample in metric.samples if self._is_seen(sample.labels.get("model", ""))]
            shown = Metric(metric.name, metric.documentation, metric.type)
            shown.samples = samples
            yield shown

    def _is_seen(self, model: str) -> bool:
        return not model or self._sees(model)


class _WorkersCollector:
    """Merges the metric files of all workers, leaving out those that a killed worker left broken."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in sorted(self._directory.glob("*.db")) if metric_values.is_readable(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=True)
        return merged
