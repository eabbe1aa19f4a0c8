"""Loading as the manager does it: what comes back, and the code and text of what goes wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from serving.errors import LoadError
from serving.models.batching import Batcher
from serving.models.loader import Loader
from serving.models.parameters import MODEL_FILE
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


class TestBatching:
    def load(self, loader: Loader, path: Path, parameters: str | None = None) -> Batcher:
        saved_models.conv(path / "1")
        if parameters is not None:
            (path / MODEL_FILE).write_text(parameters)
        return loader("conv", 1, path / "1")

    def test_the_log_says_how_each_signature_is_batched(
        self, tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked = "max_batch_size { value: 16 } batch_timeout_micros { value: 2000 } max_enqueued_batches { value: 4 }"
        with caplog.at_level("INFO", "serving.models.loader"):
            self.load(loader, tmp_path, asked).close()
        assert "signature serving_default is batched: max_rows 16, max_waiting_rows 64, delay_ms 2.0" in caplog.text

    @pytest.mark.parametrize(("parameters", "quick"), [("", True), ("batch_timeout_micros { value: 2000 }", False)])
    def test_a_quick_model_is_answered_in_the_loop_unless_it_shall_wait_for_others(
        self, tmp_path: Path, loader: Loader, parameters: str, quick: bool
    ) -> None:
        saved_models.mlp(tmp_path / "1")
        (tmp_path / "1" / MODEL_FILE).write_text(parameters)
        batcher = loader("mlp", 1, tmp_path / "1")
        assert batcher.batching["serving_default"]["batched"]
        assert batcher.is_quick == quick
        batcher.close()

    def test_what_is_wrong_with_the_parameters_of_a_model_is_a_load_error(self, tmp_path: Path, loader: Loader) -> None:
        with pytest.raises(LoadError, match=rf"^{MODEL_FILE}: max_batch_size is 0, expected 1 or more$") as caught:
            self.load(loader, tmp_path, "max_batch_size { value: 0 }")
        assert caught.value.code == "INVALID_ARGUMENT"

    def test_the_servers_parameters_hold_for_models_without_their_own(self, tmp_path: Path) -> None:
        file = tmp_path / "batching.config"
        file.write_text("max_batch_size { value: 1 }")
        batcher = self.load(Loader(Settings(batching_parameters_file=file), gpus=[]), tmp_path / "conv")
        assert batcher.batching["serving_default"]["reason"] == "its batching parameters allow one row only"
        batcher.close()

    def test_a_latency_that_cannot_be_kept_leaves_a_model_unbatched(self, tmp_path: Path) -> None:
        loader = Loader(Settings(latency_target_ms=1e-6), gpus=[])
        batcher = self.load(loader, tmp_path, "max_batch_size { value: 8 }")
        reason = batcher.batching["serving_default"]["reason"]
        assert reason == "the latency target leaves no time for more than one row"
        batcher.close()
