"""The embedded model, through the server that a user starts."""

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.server import Server, serving

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
