"""A server with two workers for clients of the Open Inference Protocol that others have written."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import saved_models
from tests.server import Server, serving


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets its models be loaded and unloaded."""
    folder = tmp_path_factory.mktemp("models")
    saved_models.add_and_subtract(folder / "simple" / "1")
    saved_models.scale(folder / "half_plus_two" / "1", 0.5, 2.0)
    saved_models.mlp(folder / "mlp" / "1")
    saved_models.mixture(folder / "mixture" / "1")
    log: Path = tmp_path_factory.mktemp("log") / "log"
    with serving(log, SERVING_MODEL_DIR=folder, WEB_CONCURRENCY=2, SERVING_ALLOW_MODEL_CONTROL="true") as server:
        yield server
