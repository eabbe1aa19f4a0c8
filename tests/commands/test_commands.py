"""The commands that look at models: what they print, their exit status, and that errors are one line."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from serving.cli import main
from serving.commands.keys import keys
from tests import hostile_models, saved_models
from tests.inputs.pictures import encoded
from tests.publisher import Publisher

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run_json(*arguments: str | Path) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, object] = json.loads(result.stdout)
    return document


def error(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models; not to be written to."""
    folder = tmp_path_factory.mktemp("models")
    saved_models.half_plus_two(folder / "half" / "1")
    saved_models.half_plus_two(folder / "half" / "2")
    saved_models.vocabulary(folder / "words" / "1")
    return folder


class TestModels:
    def test_it_lists_every_version_and_which_would_be_served(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SERVING_MODEL_DIR", str(model_dir))
        (two, one, words) = run_json("models")["models"]
        assert (two["model"], two["version"], two["served"], two["manifest"]) == ("half", 2, True, False)
        assert (one["model"], one["version"], one["served"]) == ("half", 1, False)
        assert (words["model"], words["path"]) == ("words", str(model_dir / "words" / "1"))
        assert words["bytes"] == sum(file.stat().st_size for file in (model_dir / "words").rglob("*") if file.is_file())
        lines = run("models").output.splitlines()
        assert lines[0].split() == ["MODEL", "VERSION", "SIZE", "MANIFEST", "SERVED", "PATH"]
        assert len(lines) == 4

    def test_it_reads_a_models_config(self, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = tmp_path / "models.config"
        config.write_text(f'model_config_list {{ config {{ name: "mine" base_path: "{model_dir}/words" }} }}')
        monkeypatch.setenv("SERVING_MODEL_CONFIG_FILE", str(config))
        assert [found["model"] for found in run_json("models")["models"]] == ["mine"]

    def test_a_directory_that_is_not_there_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SERVING_MODEL_DIR", str(tmp_path / "none"))
        assert error("models").startswith(f"Error: model directory {tmp_path}/none does not exist")


class TestManifest:
    def test_it_writes_one_and_says_so(self, tmp_path: Path) -> None:
        saved_models.half_plus_two(tmp_path / "1")
        found = run_json("manifest", tmp_path / "1")
        assert json.loads((tmp_path / "1" / "manifest.json").read_text())["files"].keys() >= {"saved_model.pb"}
        assert found["manifest"] == str(tmp_path / "1" / "manifest.json")
        assert run("manifest", tmp_path / "1").output.startswith(f"{tmp_path}/1/manifest.json lists 4 files, ")

    def test_it_signs_what_the_server_then_demands(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saved_models.half_plus_two(tmp_path / "half" / "1")
        publisher = Publisher(tmp_path / "publisher")
        signing = ("manifest", "--sign-with", publisher.private, tmp_path / "half" / "1")
        signature = tmp_path / "half" / "1" / "manifest.json.sig"
        assert run(*signing).output.endswith(f"{signature} is its signature with {publisher.private}\n")
        assert run_json(*signing)["signed"] is True
        monkeypatch.setenv("SERVING_MANIFEST_KEYS_FILE", str(publisher.public))
        checked = run_json("check", tmp_path / "half" / "1")
        assert f"the manifest is signed by a key in {publisher.public}" in json.dumps(checked)
        assert run("manifest", tmp_path / "half" / "1").output.splitlines()[1].startswith(f"{signature} no longer held")
        ended = run("check", tmp_path / "half" / "1")
        assert ended.exit_code == 1
        assert "manifest.json.sig is missing" in ended.output

    def test_what_it_cannot_list_is_one_line(self, tmp_path: Path) -> None:
        assert error("manifest", tmp_path) == (
            f"Error: {tmp_path} is not a version's directory: it holds no saved_model.pb"
        )
        (tmp_path / "saved_model.pb").symlink_to(__file__)
        assert error("manifest", tmp_path) == "Error: saved_model.pb is a link that leads out of the model root"


class TestInspect:
    def test_it_describes_a_version(self, model_dir: Path) -> None:
        found = run_json("inspect", model_dir / "half")
        assert (found["model"], found["version"], found["path"]) == ("half", 2, str(model_dir / "half" / "2"))
        assert found["tensorflow"].startswith("2.")
        assert found["signatures"] == {
            "serving_default": {
                "inputs": {"x": {"dtype": "float", "shape": [-1, 1]}},
                "outputs": {"y": {"dtype": "float", "shape": [-1, 1]}},
                "not_batched_because": "",
            }
        }
        assert found["operations"]["Mul"] == 1
        assert found["refused_operations"] == []

    def test_it_says_what_is_not_batched_and_what_is_not_allowed(self, tmp_path: Path) -> None:
        hostile_models.writes_in_a_function(tmp_path / "1")
        found = run_json("inspect", tmp_path / "1")
        assert found["refused_operations"] == ["WriteFile"]
        assert found["signatures"]["serving_default"]["not_batched_because"] == "it is not pure: it runs WriteFile"
        assert "not allowed: WriteFile" in run("inspect", tmp_path / "1").output

    def test_a_directory_without_a_model_is_one_line(self, tmp_path: Path) -> None:
        assert error("inspect", tmp_path).startswith(f"Error: {tmp_path} holds no saved_model.pb")


class TestCheck:
    def findings(self, result: Result) -> dict[str, tuple[str, str]]:
        return {each["what"]: (each["state"], each["text"]) for each in json.loads(result.stdout)["findings"]}

    def test_a_good_model_is_ready(self, model_dir: Path) -> None:
        result = run("check", model_dir / "half", "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["ready"] is True
        found = self.findings(result)
        assert found["load"][0] == found["batching"][0] == found["latency"][0] == "ok"
        assert found["manifest"] == ("note", "there is none; `manifest` writes one")

    def test_it_prints_a_line_for_each_finding_and_the_verdict(self, model_dir: Path) -> None:
        lines = run("check", model_dir / "half").output.splitlines()
        assert lines[0] == f"half version 2 at {model_dir}/half/2"
        assert lines[-1] == "ready"
        assert any(line.startswith("note  golden ") for line in lines)

    def test_a_model_whose_batch_differs_from_its_rows_is_ready_but_unbatched(self, tmp_path: Path) -> None:
        saved_models.batch_dependent(tmp_path / "1")
        result = run("check", tmp_path / "1", "--json")
        assert result.exit_code == 0
        assert self.findings(result)["batching"] == (
            "note",
            'serving_default is served unbatched: output "y" of a row depends on the rows beside it',
        )

    def test_a_corrupt_model_is_not(self, tmp_path: Path) -> None:
        saved_models.half_plus_two(tmp_path / "1")
        saved_models.truncate(tmp_path / "1" / "variables" / "variables.index")
        result = run("check", tmp_path / "1")
        assert result.exit_code == 1
        assert "failed  load  not an sstable" in result.output
        assert result.output.splitlines()[-1] == "not ready"

    def test_a_failing_golden_request_is_not(self, tmp_path: Path) -> None:
        saved_models.half_plus_two(tmp_path / "1")
        (tmp_path / "1" / "golden").mkdir()
        (tmp_path / "1" / "golden" / "one.json").write_text(
            '{"request": {"instances": [[1]]}, "response": {"predictions": [[7]]}}'
        )
        result = run("check", tmp_path / "1", "--json")
        assert result.exit_code == 1
        assert self.findings(result)["load"] == (
            "failed",
            "golden request one.json failed: predictions[0][0] is 2.5, expected 7 within 1e-05",
        )

    def test_an_operation_that_is_not_allowed_is_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hostile_models.writes_in_a_function(tmp_path / "1")
        assert run("check", tmp_path / "1").exit_code == 1
        monkeypatch.setenv("SERVING_ALLOW_OPS", "WriteFile")
        assert run("check", tmp_path / "1").exit_code == 0

    def test_a_manifest_that_is_demanded_and_missing_is_not(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SERVING_REQUIRE_MANIFEST", "true")
        assert run("check", model_dir / "half").exit_code == 1


class TestPredict:
    @pytest.fixture
    def several(self, tmp_path: Path) -> Path:
        saved_models.several_inputs(tmp_path / "several" / "1")
        return tmp_path / "several"

    def rows(self, *arguments: str | Path) -> list[object]:
        result = run("predict", *arguments)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("rows.json", "[[1], [2], [3]]"),
            ("rows.json", '{"instances": [[1], [2], [3]]}'),
            ("rows.jsonl", "[1]\n[2]\n\n[3]\n"),
        ],
    )
    def test_rows_of_json_are_answered_a_line_each(self, name: str, text: str, model_dir: Path, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text)
        assert self.rows(model_dir / "half", "--input", tmp_path / name, "--batch", "2") == [[2.5], [3.0], [3.5]]

    def test_an_array_is_answered_in_parts(self, model_dir: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "rows.npy", np.arange(200, dtype=np.float32)[:, None])
        rows = self.rows(model_dir / "half", "--input", tmp_path / "rows.npy")
        assert rows == [[number / 2 + 2] for number in range(200)]

    def test_a_table_has_a_column_for_each_input(self, model_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text('word\napple\n"cherry"\nnone\n')
        assert self.rows(model_dir / "words", "--input", tmp_path / "rows.csv") == [0, 2, -1]

    def test_a_table_has_the_columns_of_a_vector(self, tmp_path: Path) -> None:
        saved_models.scale(tmp_path / "1", 2.0, shape=(None, 2))
        (tmp_path / "rows.csv").write_text("width,height\n1,2\n3,4.5\n")
        assert self.rows(tmp_path, "--input", tmp_path / "rows.csv") == [[2, 4], [6, 9]]

    def test_a_picture_is_a_row(self, tmp_path: Path) -> None:
        saved_models.scale(tmp_path / "1", 1.0, shape=(None, 2, 3))
        (tmp_path / "picture.PNG").write_bytes(encoded([[0, 1, 2], [3, 4, 5]]))
        assert "holds no image_input.json" in error("predict", tmp_path, "--input", tmp_path / "picture.PNG")
        (tmp_path / "1" / "image_input.json").write_text('{"color": "gray"}')
        assert self.rows(tmp_path, "--input", tmp_path / "picture.PNG") == [[[0, 1, 2], [3, 4, 5]]]

    def test_a_whole_request_is_answered_as_it_is(self, several: Path, tmp_path: Path) -> None:
        (tmp_path / "request.json").write_text('{"inputs": {"a": [[1, 2]], "b": [3], "c": ["x"]}}')
        (answer,) = self.rows(several, "--input", tmp_path / "request.json")
        assert answer == {"outputs": {"sum": [6.0], "text": ["x:3"]}}

    def test_answers_may_go_to_a_file_as_one_document(self, model_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "rows.json").write_text("[[1]]")
        out = tmp_path / "out.json"
        result = run("predict", model_dir / "half", "--input", tmp_path / "rows.json", "--output", out, "--json")
        assert result.exit_code == 0
        assert json.loads(out.read_text()) == {"predictions": [[2.5]]}

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("rows.txt", "", "give a file that ends in .json, .jsonl, .npy, .csv, .png, .jpg, .jpeg"),
            ("rows.npy", "no array", "rows.npy: "),
            ("rows.jsonl", "[1]\n[", "rows.jsonl line 2: "),
            ("rows.csv", "wort\nx\n", 'CSV column "wort" is no input; the inputs are x'),
            ("rows.csv", "x\nno number\n", "CSV row 1, column \"x\": 'no number' is not a value of float"),
            ("rows.csv", "x\n1,2\n", "CSV row 1 has 2 cells, but the header has 1"),
            ("rows.json", "{", "JSON Parse error"),
        ],
    )
    def test_a_file_that_cannot_be_read_is_one_line(
        self, name: str, text: str, message: str, model_dir: Path, tmp_path: Path
    ) -> None:
        (tmp_path / name).write_text(text)
        assert message in error("predict", model_dir / "half", "--input", tmp_path / name)

    def test_a_server_that_is_not_there_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "rows.json").write_text("[1]")
        message = error("predict", "http://127.0.0.1:9/v1/models/half", "--input", tmp_path / "rows.json")
        assert message.startswith("Error: cannot ask 127.0.0.1:9: ")

    def test_a_url_that_names_no_model_is_one_line(self) -> None:
        assert error("bench", "http://127.0.0.1:9/").startswith("Error: http://127.0.0.1:9/ is not the URL of a model")


class TestEverywhere:
    def test_settings_are_one_document_when_asked(self) -> None:
        rows = json.loads(run("settings", "--json").stdout)
        assert {"name": "PORT", "value": "5000", "default": "5000", "meaning": "TCP port to listen on"} in rows

    @pytest.mark.parametrize("arguments", [["--help"], ["models"], ["settings"], ["manifest", "{version}"]])
    def test_what_needs_no_tensorflow_does_not_import_it(self, arguments: list[str], tmp_path: Path) -> None:
        saved_models.half_plus_two(tmp_path / "1")
        command = [each.format(version=tmp_path / "1") for each in arguments]
        code = (
            "import sys; from serving.cli import main\n"
            f"try: main({command!r})\n"
            "except SystemExit as ended: assert not ended.code, ended.code\n"
            "assert 'tensorflow' not in sys.modules"
        )
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr

    def test_what_starts_the_server_does_not_wait_for_what_it_needs_not(self) -> None:
        code = "import sys; from serving.commands import serve; assert 'numpy' not in sys.modules"
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr

    def test_every_command_that_prints_has_json(self) -> None:
        context = click.Context(main)
        found = {
            name: [option for each in its.params for option in each.opts]
            for group in (main, keys)
            for name in group.list_commands(context)
            if not isinstance(its := group.get_command(context, name), click.Group)
        }
        assert [name for name, options in found.items() if "--json" not in options] == ["serve"]

    @pytest.mark.parametrize(
        ("shell", "words"),
        [("bash", "serving ma"), ("zsh", "serving ma"), ("fish", "serving ma")],
    )
    def test_each_shell_calls_this_program_for_what_completes(self, shell: str, words: str) -> None:
        script = run_json("completion", shell)["script"]
        assert isinstance(script, str)
        (called,) = re.findall(rf"_SERVING_COMPLETE={shell}_complete (?:COMP_[^;]*? )?(env [^;)]+)", script)
        assert "serving()" in script.replace(" ", "") or "function serving;" in script
        assert "$+commands" not in script
        asked = {
            "COMP_WORDS": words,
            "COMP_CWORD": "ma" if shell == "fish" else "1",
            "_SERVING_COMPLETE": f"{shell}_complete",
        }
        ended = subprocess.run(
            shlex.split(called), env={**os.environ, **asked}, capture_output=True, text=True, check=True, timeout=60
        )
        assert "manifest" in ended.stdout
        assert "bench" not in ended.stdout

    def test_bash_completes_commands_and_options(self, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text(
            run("completion").output + "\nCOMP_WORDS=(serving ma); COMP_CWORD=1; _serving_completion serving\n"
            'echo "${COMPREPLY[@]}"\nserving settings | head -1\n'
        )
        ended = subprocess.run(
            ["bash", str(script)], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        commands, settings = ended.stdout.splitlines()
        assert commands == "manifest"
        assert settings.startswith("NAME ")
