"""The command line."""

import pytest
from click.testing import CliRunner

from serving.cli import main


def test_settings_shows_name_value_default_and_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8501")
    result = CliRunner().invoke(main, ["settings"])
    assert result.exit_code == 0
    (line,) = [line for line in result.output.splitlines() if line.startswith("PORT ")]
    assert line.split(maxsplit=3) == ["PORT", "8501", "5000", "TCP port to listen on"]


def test_settings_says_what_is_wrong_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_MODEL_DIRR", "x")
    result = CliRunner().invoke(main, ["settings"])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "Error: SERVING_MODEL_DIRR is not a setting; did you mean SERVING_MODEL_DIR? "
        "`python -m serving settings` lists them all"
    ]
