"""Loading as the manager does it: what comes back, and the code and text of what goes wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from serving.models.lifecycle import LoadError
from serving.models.loader import Loader
from serving.settings import Settings
from tests import saved_models
from tests.saved_models import Shelf

GRAPH = "saved_model.pb"
DATA = "variables/variables.data-00000-of-00001"
INDEX = "variables/variables.index"


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def loader() -> Loader:
    return Loader(Settings(request_timeout_seconds=30.0), gpus=[])


@pytest.fixture
def damaged(tmp_path: Path, shelf: Shelf) -> Path:
    """A copy of a model, to be damaged."""
    path = tmp_path / "secret" / "1"
    shutil.copytree(shelf(saved_models.conv), path)
    return path


def rewrite(path: Path, change: Callable[[SavedModel], object]) -> None:
    file = path / GRAPH
    saved = SavedModel.FromString(file.read_bytes())
    change(saved)
    file.write_bytes(saved.SerializeToString())


def test_a_model_is_loaded_ready_to_run(shelf: Shelf, loader: Loader) -> None:
    servable = loader("half", 1, shelf(saved_models.half_plus_two))
    assert servable.run("serving_default", {"x": np.float32([[1]])})["y"].tolist() == [[2.5]]
    servable.close()


def test_a_model_is_warmed_up(tmp_path: Path, loader: Loader) -> None:
    saved_models.counter(tmp_path / "1")
    saved_models.write_warmup(tmp_path / "1", {}, "increment", count=2)
    assert loader("counter", 1, tmp_path / "1").run("get", {})["count"] == 2


def test_a_model_whose_warm_up_fails_is_not_loaded(tmp_path: Path, loader: Loader) -> None:
    saved_models.raises(tmp_path / "1")
    saved_models.write_warmup(tmp_path / "1", {"x": np.array([0], np.int32)})
    with pytest.raises(LoadError, match=r"^warm-up failed: Integer division by zero$") as caught:
        loader("raises", 1, tmp_path / "1")
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (
            lambda path: (path / GRAPH).unlink(),
            "NOT_FOUND",
            "There is neither saved_model.pb nor saved_model.pbtxt in the version's directory",
        ),
        (lambda path: shutil.rmtree(path), "NOT_FOUND", "There is neither saved_model.pb nor"),
        (lambda path: saved_models.truncate(path / GRAPH), "DATA_LOSS", "saved_model.pb is damaged"),
        (lambda path: saved_models.garble(path / GRAPH), "DATA_LOSS", "saved_model.pb is damaged"),
        (lambda path: saved_models.truncate(path / DATA), "OUT_OF_RANGE", "Read less bytes than requested"),
        (lambda path: saved_models.garble(path / DATA), "DATA_LOSS", "TensorBundle at variables shard 0"),
        (lambda path: (path / DATA).unlink(), "UNKNOWN", "variables.data-00000-of-00001; No such file or directory"),
        (lambda path: saved_models.truncate(path / INDEX), "DATA_LOSS", "not an sstable (bad magic number)"),
        (lambda path: (path / INDEX).unlink(), "INTERNAL", "The passed save_path is not a valid checkpoint: variables"),
        (
            lambda path: rewrite(path, lambda saved: saved.meta_graphs[0].meta_info_def.ClearField("tags")),
            "INTERNAL",
            "MetaGraphDef associated with tags 'serve' could not be found",
        ),
        (
            lambda path: rewrite(path, lambda saved: saved.meta_graphs[0].graph_def.node.add(name="n", op="NoSuchOp")),
            "FAILED_PRECONDITION",
            "operations that are not allowed: NoSuchOp (node 'n')",
        ),
    ],
    ids=[
        "no-file", "no-directory", "half-a-graph", "garbled-graph", "half-the-data", "garbled-data", "no-data",
        "half-an-index", "no-index", "no-serve-tag", "unknown-op",
    ],
)  # fmt: skip
def test_a_damaged_model_is_a_load_error_with_a_code_and_without_paths(
    damage: Callable[[Path], object], code: str, message: str, damaged: Path, loader: Loader
) -> None:
    damage(damaged)
    with pytest.raises(LoadError) as caught:
        loader("broken", 1, damaged)
    assert caught.value.code == code
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_a_missing_asset_is_a_load_error(tmp_path: Path, loader: Loader) -> None:
    saved_models.vocabulary(tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "assets")
    with pytest.raises(LoadError, match=r"^vocabulary\.txt; No such file or directory$") as caught:
        loader("words", 1, tmp_path / "1")
    assert caught.value.code == "NOT_FOUND"


def test_a_worker_says_what_its_models_run_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "serving.models.loader"):
        Loader(Settings(worker_index=1, workers=2), gpus=["A", "B"])
    assert "worker 1 runs models on GPU 1 of 2 (B), TensorFlow threads: " in caplog.text
