"""Batching parameters: TensorFlow Serving's file, for the server and for a model."""

from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.models.parameters import (
    MODEL_FILE,
    NOTHING_ASKED,
    BatchingParameters,
    parameters_of_model,
    parse_parameters,
    read_parameters,
)


def test_the_example_of_upstreams_guide_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        parameters = parse_parameters("""
            max_batch_size { value: 128 }
            batch_timeout_micros { value: 0 }
            max_enqueued_batches { value: 1000000 }
            num_batch_threads { value: 8 }
        """)
    assert parameters == BatchingParameters(max_batch_size=128, max_enqueued_batches=1000000)
    assert "num_batch_threads has no effect" in caplog.text


def test_every_parameter_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        parameters = parse_parameters("""
            max_batch_size { value: 32 }
            batch_timeout_micros { value: 1000 }
            max_enqueued_batches { value: 10 }
            thread_pool_name { value: "pool" }
            enable_large_batch_splitting { value: true }
            max_execution_batch_size { value: 16 }
            allowed_batch_sizes: 8
            allowed_batch_sizes: [16, 32]
            pad_variable_length_inputs: true
        """)
    assert parameters == BatchingParameters(32, 1000, 10, (8, 16, 32), True, True, 16)
    assert "thread_pool_name has no effect" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch { value: 1 }", r'line 1, column 1: .* has no field named "max_batch"'),
        ("max_batch_size: 4", "line 1, column 17: .*Expected"),
        ("max_batch_size { value: 0 }", "max_batch_size is 0, expected 1 or more"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1, expected 0 or more"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches is 0, expected 1 or more"),
        ("num_batch_threads { value: 0 }", "num_batch_threads is 0, expected 1 or more"),
        ("allowed_batch_sizes: [8, 4]", r"allowed_batch_sizes are \[8, 4\], expected ascending sizes, each 1 or more"),
        ("allowed_batch_sizes: [4, 4]", r"allowed_batch_sizes are \[4, 4\], expected ascending"),
        ("allowed_batch_sizes: [0, 4]", r"allowed_batch_sizes are \[0, 4\], expected ascending"),
        (
            "allowed_batch_sizes: [4, 8] max_batch_size { value: 16 }",
            "allowed_batch_sizes end with 8, expected max_batch_size, which is 16",
        ),
        (
            "max_batch_size { value: 8 } max_execution_batch_size { value: 9 } "
            "enable_large_batch_splitting { value: true }",
            "max_execution_batch_size is 9, expected max_batch_size, 8, or less",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_parameters(text)


def test_without_a_file_nothing_is_asked() -> None:
    assert read_parameters(None) == NOTHING_ASKED


def test_errors_of_the_servers_file_begin_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    with pytest.raises(SettingsError, match=rf"^{file}: cannot be read: No such file"):
        read_parameters(file)
    file.write_text("max_batch_size { value: 0 }")
    with pytest.raises(SettingsError, match=rf"^{file}: max_batch_size is 0"):
        read_parameters(file)


class TestOfAModel:
    COMMON = BatchingParameters(max_batch_size=100, batch_timeout_micros=5)

    def test_without_a_file_of_its_own_the_servers_holds(self, tmp_path: Path) -> None:
        assert parameters_of_model(tmp_path / "1", self.COMMON) == self.COMMON

    def test_a_file_of_the_version_replaces_the_servers_altogether(self, tmp_path: Path) -> None:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / MODEL_FILE).write_text("max_batch_size { value: 4 }")
        (tmp_path / MODEL_FILE).write_text("max_batch_size { value: 7 }")
        asked = parameters_of_model(tmp_path / "1", self.COMMON)
        assert asked == BatchingParameters(max_batch_size=4, for_model=True)

    def test_a_file_of_the_model_holds_for_its_versions(self, tmp_path: Path) -> None:
        (tmp_path / MODEL_FILE).write_text("max_batch_size { value: 7 }")
        assert parameters_of_model(tmp_path / "1", self.COMMON).max_batch_size == 7

    def test_a_file_beside_an_unversioned_model_is_another_models(self, tmp_path: Path) -> None:
        (tmp_path / MODEL_FILE).write_text("max_batch_size { value: 7 }")
        assert parameters_of_model(tmp_path / "half", self.COMMON) == self.COMMON

    def test_errors_name_the_file_but_not_its_directory(self, tmp_path: Path) -> None:
        (tmp_path / MODEL_FILE).write_bytes(b"\xff")
        with pytest.raises(SettingsError, match=rf"^{MODEL_FILE}: is not UTF-8 at byte 0"):
            parameters_of_model(tmp_path / "1", self.COMMON)
        (tmp_path / MODEL_FILE).write_text("max_batch_size { value: 0 }")
        with pytest.raises(SettingsError, match=rf"^{MODEL_FILE}: max_batch_size is 0"):
            parameters_of_model(tmp_path / "1", self.COMMON)
