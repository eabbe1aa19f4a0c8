"""Every metric of the server, named once.

With a directory in PROMETHEUS_MULTIPROC_DIR the metrics of all worker processes count together. Their files are named
by the number of the worker, and one that takes the place of another counts on in its files: counts never go down, and
the files of workers that have ended do not pile up.

What happens for each request is only noted, and counted ten times a second: counting many at once costs an eighth.
"""

import logging
import os
import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
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
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST

_worker = "parent"


def _this_worker() -> str:
    return _worker


if values.ValueClass is not values.MutexValue:  # there are several processes; this must be before any metric
    values.ValueClass = values.MultiProcessValue(_this_worker)


def count_as(worker: int, directory: Path) -> None:
    """Count as the worker of this number from now on; called in it, before it counts anything."""
    global _worker
    for file in _files(directory, worker):
        if not _is_readable(file):  # the one before was killed while it made the file
            file.unlink()
    for kind in ("counter", "histogram", "gauge_livesum"):
        _reserve(directory / f"{kind}_{worker}.db")
    _worker = str(worker)


def _reserve(file: Path) -> None:
    """Give a file its place on the disk now: to count in memory that has none, once the disk is full, is fatal."""
    try:
        with file.open("ab") as opened:
            os.posix_fallocate(opened.fileno(), 0, FILE_BYTES)
    except OSError as error:
        log.error("there may be no room for metrics, and the worker end when it counts: %s", error)


def forget_worker(worker: int, directory: Path) -> None:
    """Forget what a worker that has ended had to say of itself; what it has counted stays."""
    for file in _files(directory, worker):
        if file.name.startswith("gauge_live"):
            file.unlink()


def _files(directory: Path, worker: int) -> list[Path]:
    return list(directory.glob(f"*_{worker}.db"))


FILE_BYTES = 2**20
"""What prometheus_client makes its files of at first: room for some thousands of metrics."""

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
    """Counts what is noted, in a thread of its own, until it is closed; twice is safe."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Count what is left and stop."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(COUNT_SECONDS):
            count_noted()
        count_noted()


def show_model_states(states: Mapping[tuple[str, int], str]) -> None:
    """Set the states of all model versions of this process, by model and version; those not named have none."""
    for model, version, state in _shown_states - {(*key, state) for key, state in states.items()}:
        MODEL_STATE.labels(model, str(version), state).set(0)
    for (model, version), state in states.items():
        MODEL_STATE.labels(model, str(version), state).set(1)
        _shown_states.add((model, version, state))


_shown_states: set[tuple[str, int, str]] = set()


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
        files = [str(file) for file in sorted(self._directory.glob("*.db")) if _is_readable(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=True)
        return merged


def _is_readable(file: Path) -> bool:
    try:
        for _ in MmapedDict.read_all_values_from_file(str(file)):
            pass
    except Exception as error:  # whatever a half-written file makes the reader raise
        log.debug("metric file %s is left out: %s", file.name, error)
        return False
    return True
