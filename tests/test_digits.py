"""The embedded model, through the server that a user starts."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

from serving.cli import main
from tests.server import ROOT, Server, serving

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("digits") / "log", WEB_CONCURRENCY=1) as server:
        yield server


@pytest.fixture(scope="module")
def held_out() -> tuple[list[list[list[float]]], list[str]]:
    """The images and labels that training left out: every fifth, as model/README.md says."""
    digits = load_digits()
    rows = np.arange(len(digits.images)) % 5 == 0
    return digits.images[rows].tolist(), [WORDS[digit] for digit in digits.target[rows]]


def test_version_2_knows_held_out_digits(server: Server, held_out: tuple[list[list[list[float]]], list[str]]) -> None:
    images, labels = held_out
    answer = server.ask("POST", "/v1/models/digits:predict", {"instances": images})
    assert answer.headers["x-model-version"] == "2"
    right = [row["label"] == label for row, label in zip(answer.json["predictions"], labels, strict=True)]
    print(f"held-out accuracy {np.mean(right):.4f} over {len(right)} rows")
    assert np.mean(right) >= 0.97


def test_its_probabilities_sum_to_one_and_agree_with_its_label(
    server: Server, held_out: tuple[list[list[list[float]]], list[str]]
) -> None:
    rows = server.ask("POST", "/v1/models/digits:predict", {"instances": held_out[0][:20]}).json["predictions"]
    for row in rows:
        assert sum(row["probabilities"]) == pytest.approx(1.0, abs=1e-5)
        assert row["label"] == WORDS[int(np.argmax(row["probabilities"]))]


def test_it_classifies_examples(server: Server, held_out: tuple[list[list[list[float]]], list[str]]) -> None:
    image = held_out[0][3]
    pixels = [pixel for line in image for pixel in line]
    answer = server.ask(
        "POST", "/v1/models/digits:classify", {"signature_name": "classify", "examples": [{"image": pixels}]}
    )
    (classes,) = answer.json["results"]
    assert max(classes, key=lambda pair: pair[1])[0] == held_out[1][3]


def test_it_reads_the_picture_of_a_digit(server: Server) -> None:
    picture = (ROOT / "docs" / "images" / "five.png").read_bytes()
    answer = server.ask("POST", "/v1/models/digits:predict", picture, Content_Type="image/png")
    assert [row["label"] for row in answer.json["predictions"]] == ["five"]
    table = server.ask("POST", "/v1/models/digits:predict", picture, Content_Type="image/png", Accept="text/csv")
    header, row = table.body.splitlines()
    assert header.startswith(b"label,probabilities_0,")
    assert row.startswith(b"five,")


def test_the_commands_ask_it_too(
    server: Server, held_out: tuple[list[list[list[float]]], list[str]], tmp_path: Path
) -> None:
    images, labels = held_out
    np.save(tmp_path / "images.npy", np.array(images[:100], np.float32))
    url = f"http://127.0.0.1:{server.port}/v1/models/digits"
    answered = CliRunner().invoke(main, ["predict", url, "--input", str(tmp_path / "images.npy")])
    rows = [json.loads(line) for line in answered.stdout.splitlines()]
    assert sum(row["label"] == label for row, label in zip(rows, labels, strict=False)) >= 95

    measured = CliRunner().invoke(main, ["bench", url, "--seconds", "0.3", "--clients", "2", "--json"])
    assert measured.exit_code == 0
    result = json.loads(measured.stdout)
    assert result["requests"] > 0
    assert result["errors"] == {}
    assert result["p50_ms"] <= result["p99_ms"]

    missing = CliRunner().invoke(main, ["bench", f"{url}s"])
    assert missing.exit_code == 1
    assert missing.stderr.splitlines() == ["Error: 404: Servable not found for request: Latest(digitss)"]
