"""How a version is loaded: into a servable on this worker's device, warmed up, with what goes wrong as a LoadError."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from serving import capacity, metrics
from serving.errors import SettingsError
from serving.models.batching import Batcher
from serving.models.lifecycle import LoadError
from serving.models.limits import plan, sizes_asked
from serving.models.parameters import parameters_of_model, read_parameters
from serving.models.runtime import choose_device, list_gpus, session_config
from serving.models.servable import Servable, clean_message, error_code
from serving.models.statistics import Counted, Statistics
from serving.models.trial import are_quick, try_signatures
from serving.models.warmup import warm_up
from serving.settings import Settings

log = logging.getLogger(__name__)


class Loader:
    """Loads SavedModels for one worker. `gpus` are the names of those it may choose from."""

    def __init__(
        self, settings: Settings, gpus: Sequence[str] | None = None, statistics: Statistics | None = None
    ) -> None:
        found = list_gpus() if gpus is None else gpus
        device = choose_device(found, settings.worker_index)
        threads = capacity.tensorflow_threads(capacity.this_machine(), settings.workers)
        log.info(
            "worker %d runs models on %s, TensorFlow threads: %d", settings.worker_index, device.description, threads
        )
        self._config = session_config(device, threads)
        self._timeout_seconds = settings.request_timeout_seconds
        self._target_seconds = settings.latency_target_ms / 1000
        self._parameters = read_parameters(settings.batching_parameters_file)
        self._statistics = statistics or Statistics(None, 0)

    def __call__(self, name: str, version: int, path: Path) -> Batcher:
        """Load, warm up and try the SavedModel at `path`; LoadError says why it cannot be."""
        started = time.perf_counter()
        try:
            asked = parameters_of_model(path, self._parameters)
        except SettingsError as error:
            raise LoadError("INVALID_ARGUMENT", error.message) from error
        try:
            servable = Servable(path, self._config, self._timeout_seconds)
        except Exception as error:  # a damaged model raises any of a dozen kinds
            raise LoadError(error_code(error), clean_message(error)) from error
        try:
            warm_up(servable, path)
        except Exception as error:
            servable.close()
            raise LoadError(error_code(error), f"warm-up failed: {clean_message(error)}") from error
        profiles = try_signatures(servable, sizes_asked(asked))
        plans = {signature: plan(profile, asked, self._target_seconds) for signature, profile in profiles.items()}
        is_quick = are_quick(profiles) and not any(its.limits for its in plans.values())
        if is_quick:
            servable.run_in_callers_thread([signature for signature, profile in profiles.items() if profile.quick])
        metrics.LOAD_SECONDS.labels(name).observe(time.perf_counter() - started)
        for signature, its in plans.items():
            if servable.signatures[signature].inputs:
                log.info("model %s signature %s %s", name, signature, its)
        counted = Counted(servable, self._statistics.of(name, version))
        return Batcher(counted, plans, name, is_quick, on_slow=partial(servable.run_in_callers_thread, ()))
