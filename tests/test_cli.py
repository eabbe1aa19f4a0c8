"""The command line."""

import sys
from pathlib import Path

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


def test_serve_becomes_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda path, arguments: executed.append([path, *arguments]))
    assert CliRunner().invoke(main, ["serve"]).exit_code == 0
    ((path, program, *arguments),) = executed
    assert path == program == str(Path(sys.executable).with_name("gunicorn"))
    assert arguments == ["wsgi:app"]


def test_serve_says_what_is_wrong_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.execv", lambda path, arguments: pytest.fail("gunicorn was started"))
    monkeypatch.setenv("WEB_CONCURRENCY", "abc")
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert result.output.splitlines() == ["Error: WEB_CONCURRENCY='abc' cannot be used: give a whole number, 0 or more"]
