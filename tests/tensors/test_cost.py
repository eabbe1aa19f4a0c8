"""What JSON costs to read and to write, told beforehand and measured."""

import subprocess
import sys

import numpy as np
import pytest

from serving.tensors.cost import answer_bytes, objects_bytes
from tests.conftest import Held
from tests.server import ROOT
from tests.tensors.reading import SPECS, rows, texts


@pytest.mark.faults
def test_reading_takes_no_more_than_was_told(held: Held) -> None:
    command = [sys.executable, "-m", "tests.tensors.reading", "2000000"]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
    measured = [line.split("\t") for line in out.splitlines()]
    assert len(measured) == len(texts(0)) * len(SPECS)
    most = max(int(grown) / int(told) for *_, grown, told in measured)
    held("JSON that takes much memory", "no more than its text tells beforehand", f"{most:.2f} of it at most")
    assert [row for row in measured if int(row[2]) > int(row[3])] == []


def test_a_usual_body_is_told_to_take_as_much_as_it_may() -> None:
    body = rows("0.12345678", 600_000).encode()
    assert objects_bytes(memoryview(body)) < 10 * len(body)


@pytest.mark.faults
def test_writing_takes_no_more_than_was_told(held: Held) -> None:
    command = [sys.executable, "-m", "tests.tensors.writing", "300000"]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
    measured = [line.split("\t") for line in out.splitlines()]
    assert len(measured) > 50
    most = max(int(grown) / int(told) for _, grown, told in measured)
    held("answers that take much memory", "no more than their tensors tell beforehand", f"{most:.2f} of it at most")
    assert [row for row in measured if int(row[1]) > int(row[2])] == []


def test_a_usual_answer_is_told_to_take_a_few_times_its_tensors() -> None:
    outputs = {"y": np.zeros((1000, 1000), np.float32)}
    assert answer_bytes(outputs) < 16 * outputs["y"].nbytes
