"""How a version is loaded: into a servable on this worker's device, warmed up, with what goes wrong as a LoadError."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from serving import capacity, metrics
from serving.errors import LoadError
from serving.inputs.image_spec import ImageInput, read_image_input
from serving.models.about import About, describe
from serving.models.batching import Batcher
from serving.models.failures import clean_message, error_code
from serving.models.frozen import freeze
from serving.models.golden import check_golden
from serving.models.limits import plan, sizes_asked
from serving.models.parameters import BatchingParameters, parameters_of_model, read_parameters
from serving.models.processors import Processors
from serving.models.provenance import Inspector
from serving.models.runs import Noted, Runs, VersionPath
from serving.models.runtime import choose_device, list_gpus, session_config, start_threads
from serving.models.servable import Servable
from serving.models.signature import DEFAULT_SIGNATURE
from serving.models.statistics import Counted, Statistics
from serving.models.trial import are_quick, try_signatures
from serving.models.warmup import first_requests, warm_up
from serving.settings import Settings

log = logging.getLogger(__name__)


class Loader:
    """Loads SavedModels for one worker. `gpus` are the names of those it may choose from."""

    def __init__(
        self,
        settings: Settings,
        gpus: Sequence[str] | None = None,
        statistics: Statistics | None = None,
        runs: Runs | None = None,
    ) -> None:
        found = list_gpus() if gpus is None else gpus
        device = choose_device(found, settings.worker_index)
        self._threads = capacity.tensorflow_threads(capacity.this_machine(), settings.workers)
        log.info(
            "worker %d runs models on %s, TensorFlow threads: %d",
            settings.worker_index,
            device.description,
            self._threads,
        )
        self._processors = Processors(self._threads)
        self._config = session_config(device, self._threads)
        if device.gpu is None:  # else they do little, and starting them would start the GPU
            start_threads(self._config)
        self._freeze_bytes = settings.freeze_max_bytes if device.gpu is None else 0
        self._inspect = Inspector.from_settings(settings)
        self._check_golden = settings.check_golden
        self._timeout_seconds = settings.request_timeout_seconds
        self._target_seconds = settings.latency_target_ms / 1000
        self._parameters = read_parameters(settings.batching_parameters_file)
        self._statistics = statistics or Statistics(None, 0)
        self._runs = runs or Runs()

    def __call__(self, name: str, version: int, path: Path) -> Batcher:
        """Check, load, warm up and try the SavedModel at `path`; LoadError says why it cannot be."""
        with self._runs.loading(VersionPath(name, version, str(path))):
            return self._load(name, version, path)

    def _load(self, name: str, version: int, path: Path) -> Batcher:
        started = time.perf_counter()
        with _load_errors():
            inspected = self._inspect(path)
            asked = parameters_of_model(path, self._parameters)
            servable = Servable(path, self._config, self._timeout_seconds)
        with _load_errors(), _closed_on_failure(servable):
            freeze(servable, DEFAULT_SIGNATURE, path, self._freeze_bytes)
            image_input = _image_input(servable, path)
            _warm_up(servable, path)
            if self._check_golden:
                check_golden(servable, path)
            about = describe(path, first_requests(path), image_input)
            inspected.confirm()
            batcher = self._batcher(VersionPath(name, version, str(path)), servable, asked, about)
        metrics.LOAD_SECONDS.labels(name).observe(time.perf_counter() - started)
        return batcher

    def _batcher(self, of: VersionPath, servable: Servable, asked: BatchingParameters, about: About) -> Batcher:
        """Try the signatures, and decide by that how each is run."""
        profiles = try_signatures(servable, sizes_asked(asked))
        plans = {signature: plan(profile, asked, self._target_seconds) for signature, profile in profiles.items()}
        for signature, its in plans.items():
            if servable.signatures[signature].inputs:
                log.info("model %s signature %s %s", of.model, signature, its)
        is_quick = are_quick(profiles) and not any(its.limits and its.limits.delay_seconds for its in plans.values())
        quick = [signature for signature, profile in profiles.items() if profile.quick]
        servable.run_in_callers_thread(quick if is_quick else ())
        noted = Noted(Counted(servable, self._statistics.of(of.model, of.version)), self._runs, of)
        on_slow = partial(servable.run_in_callers_thread, ())
        return Batcher(
            noted,
            plans,
            of.model,
            is_quick,
            on_slow,
            about=about,
            runs_at_once=self._threads,
            processors=self._processors,
        )


def _image_input(servable: Servable, path: Path) -> ImageInput | None:
    inputs = {name: signature.inputs for name, signature in servable.signatures.items()}
    return read_image_input(path, inputs, DEFAULT_SIGNATURE)


def _warm_up(servable: Servable, path: Path) -> None:
    try:
        warm_up(servable, path)
    except Exception as error:
        raise LoadError(error_code(error), f"warm-up failed: {clean_message(error)}") from error


@contextmanager
def _closed_on_failure(servable: Servable) -> Iterator[None]:
    try:
        yield
    except BaseException:
        servable.close()
        raise


@contextmanager
def _load_errors() -> Iterator[None]:
    """Raise what goes wrong as a LoadError: a damaged model raises any of a dozen kinds."""
    try:
        yield
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(error_code(error), clean_message(error)) from error
