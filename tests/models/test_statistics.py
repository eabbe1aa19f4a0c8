"""What requests have cost, counted by several workers."""

from pathlib import Path

import numpy as np
import pytest

from serving.models.statistics import SIZES, Counted, Statistics, row_count
from tests.fakes import FakeServable


def test_each_counter_counts_its_own() -> None:
    statistics = Statistics(None, 0)
    counters = statistics.of("half", 1)
    counters.ran(3, 100)
    counters.ran(2, 50)
    counters.failed(7)
    counters.executed(5, 90)
    counters.converted(11, 13)
    totals = statistics.read("half", 1)
    assert (totals.rows, totals.succeeded, totals.run_ns) == (5, 2, 150)
    assert (totals.failed, totals.failed_ns) == (1, 7)
    assert (totals.executions, totals.executed_ns, totals.by_rows) == (1, 90, {5: (1, 90)})
    assert (totals.input_ns, totals.output_ns) == (11, 13)
    assert totals.last_inference_ms > 0


def test_what_was_never_counted_is_zero(tmp_path: Path) -> None:
    for statistics in (Statistics(None, 0), Statistics(tmp_path, 0)):
        assert statistics.read("half", 1).succeeded == 0


def test_all_workers_count_together_and_each_version_apart(tmp_path: Path) -> None:
    workers = [Statistics(tmp_path, index) for index in range(3)]
    for worker in workers:
        worker.of("half", 1).ran(2, 10)
        worker.of("half", 1).executed(2, 5)
    workers[0].of("half", 2).ran(1, 1)
    for worker in workers:
        assert (worker.read("half", 1).rows, worker.read("half", 1).by_rows) == (6, {2: (3, 15)})
        assert worker.read("half", 2).rows == 1


def test_a_worker_that_takes_the_place_of_another_counts_on(tmp_path: Path) -> None:
    Statistics(tmp_path, 0).of("half", 1).ran(2, 10)
    Statistics(tmp_path, 0).of("half", 1).ran(3, 10)
    assert Statistics(tmp_path, 1).read("half", 1).rows == 5


def test_what_is_forgotten_is_counted_from_zero(tmp_path: Path) -> None:
    for statistics in (Statistics(None, 0), Statistics(tmp_path, 0)):
        statistics.of("half", 1).ran(2, 10)
        statistics.of("half", 2).ran(1, 10)
        statistics.forget("half", 1)
        statistics.forget("half", 3)
        assert (statistics.read("half", 1).rows, statistics.read("half", 2).rows) == (0, 1)
        statistics.of("half", 1).ran(5, 10)
        assert statistics.read("half", 1).rows == 5


def test_any_name_of_a_model_will_do(tmp_path: Path) -> None:
    names = ["../half", "a/b", "x" * 1000, "é", "\udc80"]
    for number, name in enumerate(names):
        Statistics(tmp_path, 0).of(name, 1).ran(number + 1, 1)
    assert [Statistics(tmp_path, 0).read(name, 1).rows for name in names] == [1, 2, 3, 4, 5]
    assert len(list(tmp_path.iterdir())) == len(names)


def test_more_sizes_than_there_is_room_for_are_counted_in_the_sums_only() -> None:
    statistics = Statistics(None, 0)
    for rows in range(1, SIZES + 10):
        statistics.of("half", 1).executed(rows, 1)
    totals = statistics.read("half", 1)
    assert totals.executions == SIZES + 9
    assert len(totals.by_rows) == SIZES


def test_without_a_place_on_the_disk_a_worker_counts_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    statistics = Statistics(tmp_path / "file", 0)
    statistics.of("half", 1).ran(2, 10)
    assert "counted for this worker only" in caplog.text


def test_an_execution_is_counted_with_its_rows_and_a_failed_one_is_not() -> None:
    statistics = Statistics(None, 0)
    servable = FakeServable()
    counted = Counted(servable, statistics.of("half", 1))
    inputs = {"x": np.zeros((3, 2))}
    assert counted.run("serving_default", inputs) == inputs
    counted.close()
    with pytest.raises(AssertionError):
        counted.run("serving_default", inputs)
    assert set(statistics.read("half", 1).by_rows) == {3}
    assert statistics.read("half", 1).executions == 1


def test_a_request_without_rows_counts_as_one() -> None:
    assert row_count({"a": np.array(1.0), "b": np.zeros((4, 2))}) == 4
    assert row_count({"a": np.array(1.0)}) == 1
    assert row_count({}) == 1
