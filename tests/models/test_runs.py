"""What runs is noted where it can be read when the process is no more."""

import os
from pathlib import Path

import pytest

from serving.errors import InvalidArgument
from serving.models.runs import SLOTS, Noted, Runs, VersionPath, crash_file, forget_runs, last_runs
from tests.fakes import FakeServable

HALF = VersionPath("half", 1, "/models/half/1")
TWICE = VersionPath("twice", 2, "/models/twice/2")


class Curious(FakeServable):
    """Looks, during a run, at what is noted."""

    def __init__(self, runs: Runs, fails: bool = False) -> None:
        super().__init__()
        self.seen: list[VersionPath] = []
        self._runs = runs
        self._fails = fails

    def run(self, *arguments: object) -> dict[str, object]:  # type: ignore[override]
        self.seen = [run.of for run in self._runs.now()]
        if self._fails:
            raise InvalidArgument("no")
        return {}


def test_a_run_is_noted_as_long_as_it_goes_on() -> None:
    runs = Runs()
    model = Curious(runs)
    Noted(model, runs, HALF).run("serving_default", {})
    assert model.seen == [HALF]
    assert runs.now() == []


def test_a_run_that_fails_is_over_too() -> None:
    runs = Runs()
    with pytest.raises(InvalidArgument):
        Noted(Curious(runs, fails=True), runs, HALF).run("serving_default", {})
    assert runs.now() == []


def test_what_a_process_was_running_can_be_read_until_it_is_forgotten(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.begin(runs.number(HALF))
    runs.begin(runs.number(TWICE))
    runs.end(runs.begin(runs.number(HALF)))
    crash_file(tmp_path, os.getpid()).touch()
    left = last_runs(tmp_path, os.getpid())
    assert sorted(run.of for run in left) == [HALF, TWICE]
    assert all(run.started is not None for run in left)
    forget_runs(tmp_path, os.getpid())
    assert last_runs(tmp_path, os.getpid()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_load_is_noted_without_a_time() -> None:
    runs = Runs()
    with runs.loading(HALF):
        assert [(run.of, run.started) for run in runs.now()] == [(HALF, None)]
    assert runs.now() == []


def test_more_runs_than_can_be_noted_go_on() -> None:
    runs = Runs()
    number = runs.number(HALF)
    slots = [runs.begin(number) for _ in range(SLOTS + 2)]
    assert len(runs.now()) == SLOTS
    for slot in slots:
        runs.end(slot)
    assert runs.now() == []


@pytest.mark.parametrize("left", [b"", b"[", b"not JSON"])
def test_what_a_process_left_broken_is_nothing(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "7.versions").write_bytes(left)
    (tmp_path / "7.runs").write_bytes(left)
    assert last_runs(tmp_path, 7) == []


def test_where_nothing_can_be_written_models_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    runs = Runs(tmp_path / "file")
    Noted(FakeServable(), runs, HALF).run("serving_default", {})
