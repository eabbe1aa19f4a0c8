"""How a version is loaded: into a servable on this worker's device, warmed up, with what goes wrong as a LoadError."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from serving import capacity, metrics
from serving.models.about import describe
from serving.models.batching import Batcher, BatchLimits
from serving.models.lifecycle import LoadError
from serving.models.runtime import choose_device, list_gpus, session_config
from serving.models.servable import Servable, clean_message, error_code
from serving.models.trial import are_quick, try_signatures
from serving.models.warmup import first_requests, warm_up
from serving.settings import Settings

log = logging.getLogger(__name__)


class Loader:
    """Loads SavedModels for one worker. `gpus` are the names of those it may choose from."""

    def __init__(self, settings: Settings, gpus: Sequence[str] | None = None) -> None:
        found = list_gpus() if gpus is None else gpus
        device = choose_device(found, settings.worker_index)
        threads = capacity.tensorflow_threads(capacity.this_machine(), settings.workers)
        log.info(
            "worker %d runs models on %s, TensorFlow threads: %d", settings.worker_index, device.description, threads
        )
        self._config = session_config(device, threads)
        self._timeout_seconds = settings.request_timeout_seconds

    def __call__(self, name: str, version: int, path: Path) -> Batcher:
        """Load, warm up and try the SavedModel at `path`; LoadError says why it cannot be."""
        started = time.perf_counter()
        try:
            servable = Servable(path, self._config, self._timeout_seconds)
        except Exception as error:  # a damaged model raises any of a dozen kinds
            raise LoadError(error_code(error), clean_message(error)) from error
        try:
            warm_up(servable, path)
        except Exception as error:
            servable.close()
            raise LoadError(error_code(error), f"warm-up failed: {clean_message(error)}") from error
        profiles = try_signatures(servable)
        for signature, profile in profiles.items():
            if profile.obstacle and servable.signatures[signature].inputs:
                log.info("model %s signature %s is not batched: %s", name, signature, profile.obstacle)
        if are_quick(profiles):
            servable.run_in_callers_thread([signature for signature, profile in profiles.items() if profile.quick])
        metrics.LOAD_SECONDS.labels(name).observe(time.perf_counter() - started)
        limits = BatchLimits(wait_seconds=self._timeout_seconds)
        return Batcher(
            servable,
            profiles,
            limits,
            name,
            on_slow=partial(servable.run_in_callers_thread, ()),
            about=describe(path, first_requests(path)),
        )
