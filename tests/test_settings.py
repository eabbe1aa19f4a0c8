"""Settings from the environment."""

from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.settings import Settings


def test_without_an_environment_the_defaults_hold() -> None:
    settings = Settings.from_environ({})
    assert (settings.host, settings.port, settings.model_dir) == ("127.0.0.1", 5000, Path("model"))
    assert settings.request_timeout_seconds == 30
    assert settings.max_body_bytes == 16 * 1024 * 1024


def test_each_kind_of_value_is_read() -> None:
    settings = Settings.from_environ(
        {
            "HOST": "0.0.0.0",
            "PORT": "8501",
            "WEB_CONCURRENCY": "3",
            "SERVING_MODEL_CONFIG_FILE": "/etc/models.config",
            "SERVING_MODEL_POLL_SECONDS": "0.5",
            "SERVING_NON_FINITE": "null",
            "SERVING_CORS_ORIGINS": "https://a.example, https://b.example",
            "SERVING_ACCESS_LOG": "false",
        }
    )
    assert (settings.host, settings.port, settings.workers) == ("0.0.0.0", 8501, 3)
    assert settings.model_config_file == Path("/etc/models.config")
    assert settings.model_poll_seconds == 0.5
    assert settings.non_finite == "null"
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.access_log is False


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("SERVING_MODEL_DIRECTORY", "SERVING_MODEL_DIR"),
        ("SERVING_PORT", "PORT"),
        ("SERVING_TIMEOUT_SECONDS", "SERVING_REQUEST_TIMEOUT_SECONDS"),
    ],
)
def test_an_unknown_setting_is_an_error_that_suggests_the_nearest(variable: str, near: str) -> None:
    with pytest.raises(SettingsError, match=rf"{variable} is not a setting; did you mean {near}\?"):
        Settings.from_environ({variable: "1"})


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PORT", "http", "a whole number from 1 to 65535"),
        ("PORT", "65536", "a whole number from 1 to 65535"),
        ("SERVING_MAX_HEADERS", "0", "a whole number from 1 to 10000"),
        ("SERVING_HEAD_SECONDS", "0", "a number of seconds, 0.1 or more"),
        ("SERVING_THREADS", "-1", "a whole number, 0 or more"),
        ("SERVING_REQUEST_TIMEOUT_SECONDS", "nan", "a number of seconds, 0.001 or more"),
        ("SERVING_MODEL_POLL_SECONDS", "inf", "a number of seconds, 0 or more"),
        ("SERVING_LATENCY_TARGET_MS", "-1", "a number of milliseconds, 0 or more"),
        ("SERVING_NON_FINITE", "zero", "one of literal, null, error"),
        ("SERVING_ACCESS_LOG", "yes", "true or false"),
        ("SERVING_MODEL_DIR", "", "a path"),
        ("SERVING_CORS_ORIGINS", "example.com", "a comma-separated list of origins"),
    ],
)
def test_a_malformed_value_is_an_error_that_says_what_to_give(variable: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({variable: value})
    assert caught.value.message.startswith(f"{variable}={value!r} cannot be used: give {expected}")


def test_other_programs_variables_are_none_of_ours() -> None:
    assert Settings.from_environ({"PATH": "/bin", "SERVINGS": "4"}) == Settings()


def test_the_table_has_a_meaning_for_every_setting() -> None:
    rows = Settings(port=8501).rows()
    assert ("PORT", "8501", "5000", "TCP port to listen on") in rows
    assert all(meaning for *_, meaning in rows)
