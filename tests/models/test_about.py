"""What is told of a version on disk."""

from pathlib import Path

import numpy as np
import pytest

from serving.models.about import About, class_labels, describe
from serving.models.warmup import MAX_SAMPLE_BYTES, first_requests
from tests.saved_models import write_warmup


def test_the_size_is_that_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"x" * 100)
    (tmp_path / "variables" / "data").write_bytes(b"x" * 23)
    assert describe(tmp_path, {}).size_bytes == 123


@pytest.mark.parametrize("folder", ["assets", "assets.extra"])
def test_labels_are_the_lines_of_a_file(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "labels.txt").write_text("cat\ndog\n")
    assert describe(tmp_path, {}).labels == ("cat", "dog")


def test_a_version_without_labels_has_none(tmp_path: Path) -> None:
    assert describe(tmp_path, {}).labels == ()


def test_labels_name_classes_only_where_there_are_as_many() -> None:
    about = About(labels=("cat", "dog"))
    assert class_labels(about, 2) == ("cat", "dog")
    assert class_labels(about, 3) == ()
    assert class_labels(about, None) == ()


def test_a_sample_is_the_first_warm_up_request_of_a_signature(tmp_path: Path) -> None:
    write_warmup(tmp_path, {"x": np.array([1.5, 2.5])}, signature="other", count=3)
    ((signature, inputs),) = first_requests(tmp_path).items()
    assert signature == "other"
    assert inputs["x"].tolist() == [1.5, 2.5]


def test_a_large_request_is_no_sample(tmp_path: Path) -> None:
    write_warmup(tmp_path, {"x": np.zeros(MAX_SAMPLE_BYTES + 1, np.uint8)})
    assert first_requests(tmp_path) == {}
