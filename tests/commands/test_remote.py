"""The commands that ask a running server: which forms they send, and with which key."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import WSGIRequestHandler, make_server

from serving.cli import main
from tests import saved_models
from tests.access import keys
from tests.inputs.pictures import encoded
from tests.rest.api import serve


class Quiet(WSGIRequestHandler):
    def log_request(self, *arguments: Any) -> None:
        pass


class Live(NamedTuple):
    """A server that asks for a key, which is in the file."""

    url: str
    key_file: Path


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    models = folder / "models"
    saved_models.half_plus_two(models / "half" / "1")
    saved_models.several_signatures(models / "signatures" / "1")
    saved_models.scale(models / "picture" / "1", 1.0, shape=(None, 2, 3))
    (models / "picture" / "1" / "image_input.json").write_text('{"color": "gray"}')
    key, entry = keys.key("me")
    (folder / "key").write_text(f"{key}\n")
    with serve(model_dir=models, keys_file=keys.write(folder / "keys.json", entry)) as client:
        server = make_server("127.0.0.1", 0, client.application, threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=server.serve_forever, name="live server")
        thread.start()
        yield Live(f"http://127.0.0.1:{server.port}/v1/models", folder / "key")
        server.shutdown()
        thread.join()
        server.server_close()


def run(live: Live, command: str, model: str, *arguments: str | Path, key: str | Path | None = None) -> Result:
    shown = [command, f"{live.url}/{model}", "--key-file", key or live.key_file, *arguments]
    return CliRunner().invoke(main, [str(argument) for argument in shown])


def rows(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_rows_of_every_form_are_asked(live: Live, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[[1], [2]]")
    (tmp_path / "rows.csv").write_text("x\n1\n2\n")
    np.save(tmp_path / "rows.npy", np.float32([[1], [2]]))
    for name in ("rows.json", "rows.csv", "rows.npy"):
        assert rows(run(live, "predict", "half", "--input", tmp_path / name)) == [[2.5], [3.0]]


def test_a_picture_is_asked(live: Live, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(encoded([[0, 1, 2], [3, 4, 5]]))
    assert rows(run(live, "predict", "picture", "--input", tmp_path / "p.png")) == [[[0, 1, 2], [3, 4, 5]]]
    refused = run(live, "predict", "half", "--input", tmp_path / "p.png")
    assert refused.stderr.startswith("Error: 415: this version of the model takes no pictures")


def test_another_signature_is_asked(live: Live, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x\n3\n")
    result = run(live, "predict", "signatures", "--input", tmp_path / "rows.csv", "--signature", "negate")
    assert rows(result) == [-3]


def test_without_the_right_key_nothing_is_asked(live: Live, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[[1]]")
    (tmp_path / "wrong").write_text("svk.me.wrong")
    result = run(live, "predict", "half", "--input", tmp_path / "rows.json", key=tmp_path / "wrong")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: 401: ")
    (tmp_path / "empty").write_text("\n")
    result = run(live, "predict", "half", "--input", tmp_path / "rows.json", key=tmp_path / "empty")
    assert "holds no key" in result.stderr
    shown = CliRunner().invoke(main, ["bench", "http://me:secret@127.0.0.1:9/v1/models/half"])
    assert "give a key with --key-file" in shown.stderr


@pytest.mark.parametrize("name", ["", "body.json", "body.csv", "body.npy"])
def test_a_bench_asks_with_the_key(live: Live, tmp_path: Path, name: str) -> None:
    (tmp_path / "body.json").write_text('{"instances": [[1]]}')
    (tmp_path / "body.csv").write_text("x\n1\n")
    np.save(tmp_path / "body.npy", np.float32([[1]]))
    body = ["--body", tmp_path / name] if name else []
    result = run(live, "bench", "half", "--seconds", "0.1", "--clients", "1", "--json", *body)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["requests"] > 0
    assert found["errors"] == {}
