"""What a `models.config` means, and how edits of it are followed."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.models.config_file import ConfigFileSource, parse_config, read_config
from serving.models.scanner import Scanner
from serving.models.source import All, Latest, ModelConfig, Specific


def config(body: str) -> str:
    return f"model_config_list {{ config {{ {body} }} }}"


def half(body: str = "") -> str:
    return config(f'name: "half" base_path: "/models/half" {body}')


class TestParse:
    def test_a_model_has_its_name_and_base_path_and_wants_the_latest_version(self) -> None:
        assert parse_config(half()) == (ModelConfig("half", Path("/models/half"), Latest(1), {}),)

    def test_models_keep_their_order(self) -> None:
        text = 'model_config_list { config { name: "b" base_path: "/b" } config { name: "a" base_path: "/a" } }'

        assert [model.name for model in parse_config(text)] == ["b", "a"]

    def test_the_file_of_the_documentation_of_tensorflow_serving_is_understood(self) -> None:
        text = """
        # two versions, one of them a canary
        model_config_list {
          config {
            name: 'half'
            base_path: '/models/half/'
            model_platform: 'tensorflow'
            model_version_policy {
              specific {
                versions: 42
                versions: 43
              }
            }
            version_labels {
              key: 'stable'
              value: 42
            }
            version_labels {
              key: 'canary'
              value: 43
            }
          }
        }
        """
        labels = {"stable": 42, "canary": 43}

        assert parse_config(text) == (ModelConfig("half", Path("/models/half"), Specific((42, 43)), labels),)

    @pytest.mark.parametrize(
        ("text", "policy"),
        [
            ("", Latest(1)),
            ("latest {}", Latest(1)),
            ("latest { num_versions: 0 }", Latest(1)),
            ("latest { num_versions: 3 }", Latest(3)),
            ("all {}", All()),
            ("specific { versions: [7, 2] }", Specific((7, 2))),
        ],
    )
    def test_a_policy_is_read(self, text: str, policy: Latest | All | Specific) -> None:
        (model,) = parse_config(half(f"model_version_policy {{ {text} }}"))

        assert model.policy == policy

    @pytest.mark.parametrize("text", ['model_platform: "tensorflow"', 'model_platform: ""', "model_type: TENSORFLOW"])
    def test_tensorflow_is_accepted_as_platform_and_as_the_older_type(self, text: str) -> None:
        assert len(parse_config(half(text))) == 1

    def test_an_empty_list_serves_no_model(self) -> None:
        assert parse_config("model_config_list {}") == ()

    def test_logging_config_is_accepted_and_said_to_have_no_effect(self, caplog: pytest.LogCaptureFixture) -> None:
        parse_config(half("logging_config { sampling_config { sampling_rate: 1 } }"))

        assert "model half: logging_config is not supported" in caplog.text


class TestRefuse:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "it lists no models; write model_config_list {} to serve none"),
            ("custom_model_config {}", "custom_model_config is not supported"),
            ("custom_model_config { [type.googleapis.com/a.B] { c: 1 } }", "Type a.B not found"),
            ('model_config_list {\n  config {\n    nme: "half"\n  }\n}', 'line 3, column 5: .* no field named "nme"'),
            ("model_config_list {\n  config {", r'line 2, column 10: Expected "}"'),
            (half("model_version_policy { latest {} all {} }"), "line 1, column .* along with field"),
            (config('base_path: "/models/half"'), "config 1 of model_config_list has no name"),
            (config('name: "half"'), "model half: base_path is missing"),
            (config('name: "half" base_path: "models"'), 'model half: base_path "models" is not absolute'),
            (half('model_platform: "other"'), 'model half: model_platform is "other", expected "tensorflow"'),
            (half("model_type: OTHER"), "model half: model_type is not TENSORFLOW"),
            (half('version_labels { key: "" value: 1 }'), "model half: a label of version 1 is empty"),
            (half('version_labels { key: "a" value: -1 }'), 'label "a" has version -1, which is below 0'),
        ],
    )
    def test_what_cannot_be_used_is_refused_in_one_line(self, text: str, message: str) -> None:
        with pytest.raises(SettingsError, match=message) as caught:
            parse_config(text)
        assert "\n" not in str(caught.value)

    def test_names_are_unique(self) -> None:
        text = "model_config_list {" + 2 * 'config { name: "half" base_path: "/half" }' + "}"

        with pytest.raises(SettingsError, match="model half is listed 2 times; names must be unique"):
            parse_config(text)

    def test_errors_of_a_file_begin_with_its_path(self, tmp_path: Path) -> None:
        file = tmp_path / "models.config"
        file.write_text("oops")

        with pytest.raises(SettingsError, match=r"models.config: line 1, column 1: ") as caught:
            read_config(file)
        assert str(caught.value).startswith(str(file))

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"models.config: cannot be read: No such file or directory"):
            read_config(tmp_path / "models.config")

    def test_a_file_that_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "models.config").write_bytes(b"# \xff")

        with pytest.raises(SettingsError, match=r"models.config: is not UTF-8 at byte 2"):
            read_config(tmp_path / "models.config")


class TestFollow:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        for model in ("half", "digits"):
            (tmp_path / model / "1").mkdir(parents=True)
            (tmp_path / model / "1" / "saved_model.pb").touch()
        self.write(tmp_path / "models.config", "half")
        return tmp_path / "models.config"

    @pytest.fixture
    def source(self, file: Path) -> ConfigFileSource:
        return ConfigFileSource(file, Scanner(poll_seconds=0))

    def write(self, file: Path, *models: str, more: str = "") -> None:
        configs = (f'config {{ name: "{model}" base_path: "{file.parent / model}" {more} }}' for model in models)
        file.write_text("model_config_list {" + " ".join(configs) + "}")

    def test_the_models_of_the_file_are_found_with_their_versions(self, source: ConfigFileSource, file: Path) -> None:
        found = source.poll()

        assert list(found) == ["half"]
        assert [version.path for version in found["half"].versions] == [file.parent / "half" / "1"]

    def test_a_model_that_is_added_is_found(self, source: ConfigFileSource, file: Path) -> None:
        self.write(file, "half", "digits")

        assert list(source.poll()) == ["half", "digits"]

    def test_a_model_that_is_no_longer_listed_is_left_out(self, source: ConfigFileSource, file: Path) -> None:
        self.write(file, "digits")

        assert list(source.poll()) == ["digits"]

    def test_an_edit_of_labels_is_picked_up(self, source: ConfigFileSource, file: Path) -> None:
        assert source.poll()["half"].config.labels == {}

        self.write(file, "half", more='version_labels { key: "stable" value: 1 }')

        assert source.poll()["half"].config.labels == {"stable": 1}

    def test_a_file_that_arrives_by_rename_is_read_even_with_the_same_size_and_time(
        self, source: ConfigFileSource, file: Path
    ) -> None:
        times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
        new = file.with_name("new")
        new.write_text(file.read_text().replace('"half"', '"flah"'))
        os.utime(new, ns=times)

        new.rename(file)

        assert list(source.poll()) == ["flah"]

    @pytest.mark.parametrize("content", ["model_config_list { config {", ""], ids=["half written", "empty"])
    def test_a_file_that_no_longer_parses_is_logged_once_and_the_last_good_one_stays(
        self, source: ConfigFileSource, file: Path, caplog: pytest.LogCaptureFixture, content: str
    ) -> None:
        before = source.poll()
        file.write_text(content)

        assert source.poll() == before
        assert source.poll() == before
        assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
        assert f"{file}: " in caplog.text

    def test_each_bad_edit_is_logged(
        self, source: ConfigFileSource, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for content in ("bad", "worse"):
            file.write_text(content)
            source.poll()

        assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]

    def test_a_good_file_after_a_bad_one_is_read(self, source: ConfigFileSource, file: Path) -> None:
        file.write_text("bad")
        source.poll()

        self.write(file, "digits")

        assert list(source.poll()) == ["digits"]

    def test_a_file_that_vanishes_leaves_its_models(self, source: ConfigFileSource, file: Path) -> None:
        before = source.poll()

        file.unlink()

        assert source.poll() == before

    def test_a_bad_file_is_fatal_at_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "models.config").write_text("bad")

        with pytest.raises(SettingsError, match=r"models.config: line 1"):
            ConfigFileSource(tmp_path / "models.config", Scanner(poll_seconds=0))

    def test_a_model_without_a_directory_yet_is_listed_without_versions(
        self, source: ConfigFileSource, file: Path
    ) -> None:
        self.write(file, "later")

        assert source.poll()["later"].versions == ()

    def test_a_saved_model_right_in_the_base_path_is_no_version(self, source: ConfigFileSource, file: Path) -> None:
        (file.parent / "flat").mkdir()
        (file.parent / "flat" / "saved_model.pb").touch()
        self.write(file, "flat")

        assert source.poll()["flat"].versions == ()


def test_reading_a_config_does_not_import_tensorflow() -> None:
    program = "import sys, serving.models.config_file; sys.exit('tensorflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
