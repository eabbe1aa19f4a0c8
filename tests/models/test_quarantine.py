"""Which version is blamed for the workers that end."""

import os
from pathlib import Path

import pytest

from serving.models.control import OrderFile
from serving.models.quarantine import DEATHS, WINDOW_SECONDS, Death, Deaths, blamed
from serving.models.runs import Runs, VersionPath, crash_file
from serving.models.scanner import read_tree
from serving.models.statistics import Statistics
from tests.fakes import FakeClock

KILLER = VersionPath("killer", 1, "/models/killer/1")
BUSY = VersionPath("busy", 1, "/models/busy/1")
COMPUTED = {KILLER: 5.0, BUSY: 1000.0}.__getitem__


def deaths(*running: set[VersionPath], apart: float = 1.0) -> list[Death]:
    return [Death(number * apart, frozenset(its)) for number, its in enumerate(running)]


class TestBlame:
    def test_nobody_is_blamed_for_fewer_deaths_than_are_enough(self) -> None:
        assert blamed(deaths(*[{KILLER}] * (DEATHS - 1)), 10, COMPUTED) is None

    def test_who_was_running_at_each_of_them_is_blamed(self) -> None:
        assert blamed(deaths({KILLER}, {KILLER, BUSY}, {KILLER}), 10, COMPUTED) == KILLER

    def test_deaths_of_long_ago_do_not_count(self) -> None:
        assert blamed(deaths(*[{KILLER}] * 3, apart=WINDOW_SECONDS / 2 + 1), WINDOW_SECONDS + 2, COMPUTED) is None

    def test_of_two_suspects_the_one_that_seldom_runs_is_blamed(self) -> None:
        assert blamed(deaths(*[{KILLER, BUSY}] * 3), 10, COMPUTED) == KILLER

    def test_deaths_with_nothing_running_are_nobodys_fault(self) -> None:
        assert blamed(deaths(set(), set(), set()), 10, COMPUTED) is None


class Workers:
    """Workers that end in this process: what they leave is made, and examined as the parent does."""

    def __init__(self, folder: Path) -> None:
        self.orders = OrderFile(folder / "control")
        self.clock = FakeClock()
        self._deaths = Deaths(self.clock)
        self._folder = folder
        self._statistics = Statistics(folder / "statistics", 0)

    def end(self, *running: VersionPath, words: str = "Fatal Python error: Aborted") -> None:
        directory = self._folder / "runs"
        runs = Runs(directory)
        for version in running:
            runs.begin(runs.number(version))
        crash_file(directory, os.getpid()).write_text(words)
        self._deaths.examine(os.getpid(), directory, self.orders, self._statistics)
        assert list(directory.iterdir()) == []

    def computed(self, version: VersionPath, ns: int) -> None:
        self._statistics.of(version.model, version.version).executed(1, ns)

    @property
    def quarantined(self) -> list[tuple[str, int, str]]:
        return [(its.model, its.version, its.fingerprint) for its in self.orders.read().quarantined]


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(tmp_path)


@pytest.fixture
def killer(tmp_path: Path) -> VersionPath:
    (tmp_path / "models" / "killer" / "1").mkdir(parents=True)
    return VersionPath("killer", 1, str(tmp_path / "models" / "killer" / "1"))


@pytest.fixture
def busy(tmp_path: Path) -> VersionPath:
    (tmp_path / "models" / "busy" / "1").mkdir(parents=True)
    return VersionPath("busy", 1, str(tmp_path / "models" / "busy" / "1"))


class TestDeaths:
    def test_the_third_death_puts_what_was_running_in_quarantine(self, workers: Workers, killer: VersionPath) -> None:
        workers.end(killer)
        workers.end(killer)
        assert workers.quarantined == []
        workers.end(killer)
        assert workers.quarantined == [("killer", 1, read_tree(Path(killer.path)).fingerprint)]

    def test_workers_that_are_killed_from_outside_are_nobodys_fault(
        self, workers: Workers, killer: VersionPath
    ) -> None:
        for _ in range(5):
            workers.end(killer, words="")
        assert workers.quarantined == []

    def test_deaths_that_are_explained_do_not_count_against_others(
        self, workers: Workers, killer: VersionPath, busy: VersionPath
    ) -> None:
        workers.computed(killer, 10)
        workers.computed(busy, 10_000)
        for _ in range(3):
            workers.end(killer, busy)
        workers.end(busy)
        assert [model for model, *_ in workers.quarantined] == ["killer"]

    def test_who_goes_on_ending_workers_is_found_next_and_who_was_blamed_for_it_is_released(
        self, workers: Workers, killer: VersionPath, busy: VersionPath
    ) -> None:
        workers.computed(killer, 10_000)
        workers.computed(busy, 10)
        for _ in range(3):
            workers.end(killer, busy)
        assert [model for model, *_ in workers.quarantined] == ["busy"]
        for _ in range(3):
            workers.end(killer)
        assert [model for model, *_ in workers.quarantined] == ["killer"]

    def test_who_ended_a_worker_alone_stays_where_another_one_is_found(
        self, workers: Workers, killer: VersionPath, busy: VersionPath
    ) -> None:
        workers.computed(busy, 10_000)
        for running in ([killer, busy], [killer, busy], [killer], [busy], [busy], [busy]):
            workers.end(*running)
        assert [model for model, *_ in workers.quarantined] == ["killer", "busy"]

    def test_who_was_forgiven_and_goes_on_is_found_again(
        self, workers: Workers, killer: VersionPath, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            workers.end(killer)
        workers.orders.forgive()
        for _ in range(3):
            workers.end(killer)
        assert [model for model, *_ in workers.quarantined] == ["killer"]
        assert "not to blame" not in caplog.text

    def test_an_order_that_cannot_be_given_is_given_when_the_next_worker_ends(
        self, workers: Workers, killer: VersionPath, tmp_path: Path
    ) -> None:
        workers.end(killer)
        workers.end(killer)
        (tmp_path / "control" / "orders.new").mkdir(parents=True)  # where a file has to be written
        with pytest.raises(OSError, match="Is a directory"):
            workers.end(killer)
        (tmp_path / "control" / "orders.new").rmdir()
        assert workers.quarantined == []
        workers.end(killer)
        assert [model for model, *_ in workers.quarantined] == ["killer"]

    def test_a_version_that_is_gone_meanwhile_needs_no_quarantine(self, workers: Workers) -> None:
        for _ in range(4):
            workers.end(KILLER)
        assert workers.quarantined == []

    def test_deaths_far_apart_do_not_add_up(self, workers: Workers, killer: VersionPath) -> None:
        for _ in range(5):
            workers.end(killer)
            workers.clock.pass_by(WINDOW_SECONDS / 2 + 1)
        assert workers.quarantined == []
