"""What is settled before the workers start."""

import socket
from pathlib import Path

import pytest

from serving.boot import METRICS_VARIABLE, check_address, prepare, wanted_bytes, worker_index
from serving.errors import SettingsError
from serving.settings import Settings


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1" / "saved_model.pb").write_bytes(b"12345")
    return {"SERVING_MODEL_DIR": str(tmp_path / "models"), "SERVING_RUNTIME_DIR": str(tmp_path / "run")}


def test_what_was_chosen_is_noted_for_the_workers(environ: dict[str, str]) -> None:
    settings = prepare(environ)
    assert settings.workers >= 1
    assert settings.threads >= 1
    assert Settings.from_environ(environ) == settings
    assert environ[METRICS_VARIABLE] == str(settings.metrics_dir)


def test_what_an_earlier_run_left_is_emptied(environ: dict[str, str], tmp_path: Path) -> None:
    stale = tmp_path / "run" / "metrics" / "counter_1.db"
    stale.parent.mkdir(parents=True)
    stale.touch()
    prepare(environ)
    assert list(stale.parent.iterdir()) == []


def test_a_second_time_nothing_changes(environ: dict[str, str], tmp_path: Path) -> None:
    first = prepare(environ)
    (tmp_path / "run" / "metrics" / "counter_1.db").touch()
    assert prepare(environ) == first
    assert (tmp_path / "run" / "metrics" / "counter_1.db").exists()


def test_only_versions_that_will_be_loaded_are_measured(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models" / "m" / "2").mkdir()
    (tmp_path / "models" / "m" / "2" / "saved_model.pb").write_bytes(b"1234567")
    assert wanted_bytes(Settings.from_environ(environ)) == 7


def test_a_missing_model_directory_stops_the_start(environ: dict[str, str]) -> None:
    environ["SERVING_MODEL_DIR"] = "/nowhere/models"
    with pytest.raises(SettingsError, match="/nowhere/models does not exist"):
        prepare(environ)


def test_a_config_file_that_does_not_parse_stops_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("model_config_list {")
    environ["SERVING_MODEL_CONFIG_FILE"] = str(tmp_path / "models.config")
    with pytest.raises(SettingsError, match=r"models\.config: line"):
        prepare(environ)


def test_a_taken_port_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="set PORT"):
        check_address("127.0.0.1", taken.getsockname()[1])


def test_a_worker_gets_the_lowest_free_number() -> None:
    assert [worker_index(taken) for taken in (set(), {0}, {0, 2}, {1, 2})] == [0, 1, 1, 0]
