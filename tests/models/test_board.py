"""What all workers have, as one: the rules of merging, and files of workers that live, died or wrote nonsense."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.models.board import StatusBoard, merge
from serving.models.lifecycle import State, Statuses, VersionStatus

AVAILABLE = VersionStatus(1, State.AVAILABLE)
FAILED = VersionStatus(1, State.END, "DATA_LOSS", "saved_model.pb is damaged")


def merged(*workers: State | VersionStatus | None) -> VersionStatus:
    """The status of one version that has these states in the workers; None: the worker has no such version."""
    statuses = [VersionStatus(1, worker) if isinstance(worker, State) else worker for worker in workers]
    (one,) = merge([{"half": () if status is None else (status,)} for status in statuses])["half"]
    return one


class TestMerge:
    @pytest.mark.parametrize("state", list(State))
    def test_a_state_that_all_workers_share_is_the_state(self, state: State) -> None:
        assert merged(state, state, state).state is state

    @pytest.mark.parametrize(
        ("workers", "state"),
        [
            ((State.AVAILABLE, State.LOADING), State.LOADING),
            ((State.AVAILABLE, State.START), State.LOADING),
            ((State.LOADING, State.START), State.LOADING),
            ((State.AVAILABLE, None), State.LOADING),
            ((State.AVAILABLE, State.UNLOADING), State.UNLOADING),
            ((State.AVAILABLE, State.END), State.UNLOADING),
            ((State.UNLOADING, State.END), State.UNLOADING),
            ((State.END, None), State.END),
            ((State.START, None), State.START),
        ],
    )
    def test_a_version_is_on_its_way_until_all_workers_are_there(
        self, workers: tuple[State | None, ...], state: State
    ) -> None:
        assert {merged(*order).state for order in itertools.permutations(workers)} == {state}

    @pytest.mark.parametrize("other", [*State, None])
    def test_a_version_that_failed_in_one_worker_failed(self, other: State | None) -> None:
        assert merged(other, FAILED) == FAILED
        assert merged(FAILED, other) == FAILED

    def test_versions_come_newest_first(self) -> None:
        workers: list[Statuses] = [
            {"half": (VersionStatus(10, State.AVAILABLE), VersionStatus(2, State.END))},
            {"half": (VersionStatus(10, State.AVAILABLE), VersionStatus(9, State.END))},
        ]

        assert [status.version for status in merge(workers)["half"]] == [10, 9, 2]

    def test_a_model_that_a_worker_has_not_found_yet_is_loading(self) -> None:
        assert merge([{"half": (AVAILABLE,)}, {}]) == {"half": (VersionStatus(1, State.LOADING),)}

    def test_a_model_without_versions_stays_listed(self) -> None:
        assert merge([{"half": ()}, {"half": ()}]) == {"half": ()}

    def test_of_no_worker_nothing_is_known(self) -> None:
        assert merge([]) == {}


@pytest.fixture
def living() -> int:
    """The id of another process that runs."""
    return os.getppid()


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def said(models: str, settled: bool = True) -> str:
    """What a worker says of its models."""
    return f'{{"settled": {json.dumps(settled)}, "models": {models}}}'


class TestStatusBoard:
    def test_without_a_directory_it_knows_its_own(self) -> None:
        board = StatusBoard(None)
        assert board.read() == {}

        board.publish({"half": (AVAILABLE,)})

        assert board.read() == {"half": (AVAILABLE,)}
        board.close()

    def test_another_process_reads_what_was_published(self, tmp_path: Path) -> None:
        code = """
import sys
from pathlib import Path
from serving.models.board import StatusBoard
print(StatusBoard(Path(sys.argv[1])).read())
"""
        statuses: Statuses = {"half": (VersionStatus(2, State.AVAILABLE), FAILED), "digits": ()}
        StatusBoard(tmp_path).publish(statuses)

        answer = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)

        assert answer.stdout.strip() == str(statuses)

    def test_it_merges_what_others_that_live_have_published(self, tmp_path: Path, living: int) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (AVAILABLE,)})

        (tmp_path / f"{living}.json").write_text(said('{"half": [[1, "LOADING", "OK", ""]], "digits": []}'))

        assert board.read() == {"half": (VersionStatus(1, State.LOADING),), "digits": ()}

    def test_before_it_published_anything_it_knows_only_the_others(self, tmp_path: Path, living: int) -> None:
        (tmp_path / f"{living}.json").write_text(said('{"half": [[1, "AVAILABLE", "OK", ""]]}'))

        assert StatusBoard(tmp_path).read() == {"half": (AVAILABLE,)}

    def test_a_worker_that_has_not_settled_does_not_count_beside_one_that_has(
        self, tmp_path: Path, living: int
    ) -> None:
        board = StatusBoard(tmp_path)
        (tmp_path / f"{living}.json").write_text(said('{"half": [[1, "LOADING", "OK", ""]]}', settled=False))

        board.publish({"half": (VersionStatus(1, State.START),)})
        assert board.read() == {"half": (VersionStatus(1, State.LOADING),)}

        board.publish({"half": (AVAILABLE,)})
        assert board.read() == {"half": (AVAILABLE,)}

    @pytest.mark.parametrize(
        ("statuses", "settled"),
        [
            ({}, True),
            ({"half": ()}, True),
            ({"half": (AVAILABLE,)}, True),
            ({"half": (VersionStatus(2, State.LOADING), AVAILABLE)}, True),
            ({"half": (VersionStatus(2, State.START), FAILED)}, True),
            ({"half": (VersionStatus(1, State.START),)}, False),
            ({"half": (VersionStatus(1, State.LOADING),)}, False),
            ({"half": (AVAILABLE,), "digits": (VersionStatus(1, State.LOADING),)}, False),
        ],
    )
    def test_a_worker_has_settled_when_each_model_has_been_tried(
        self, tmp_path: Path, statuses: Statuses, settled: bool
    ) -> None:
        StatusBoard(tmp_path).publish(statuses)

        (file,) = tmp_path.iterdir()
        assert json.loads(file.read_text())["settled"] is settled

    def test_a_worker_that_has_settled_stays_so_when_a_model_comes_later(self, tmp_path: Path) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (AVAILABLE,)})
        board.publish({"half": (AVAILABLE,), "digits": (VersionStatus(1, State.LOADING),)})

        (file,) = tmp_path.iterdir()
        assert json.loads(file.read_text())["settled"] is True

    def test_what_a_closed_board_publishes_the_others_do_not_see(self, tmp_path: Path) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (AVAILABLE,)})
        board.close()
        board.publish({"half": (VersionStatus(1, State.UNLOADING),)})

        assert list(tmp_path.iterdir()) == []

    def test_a_worker_that_died_does_not_count(self, tmp_path: Path, dead: int) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (AVAILABLE,)})

        (tmp_path / f"{dead}.json").write_text(said('{"half": [[1, "LOADING", "OK", ""]]}'))

        assert board.read() == {"half": (AVAILABLE,)}

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b'{"half": [[1, "LOA',
            b"\xff\xfe",
            b"[]",
            b"null",
            b"{}",
            b'{"models": {}}',
            b'{"settled": true, "models": null}',
            b'{"settled": true, "models": {"half": 1}}',
            b'{"settled": true, "models": {"half": [1]}}',
            b'{"settled": true, "models": {"half": [[1, "LOADING"]]}}',
            b'{"settled": true, "models": {"half": [["one", "LOADING", "OK", ""]]}}',
            b'{"settled": true, "models": {"half": [[1, "SLEEPING", "OK", ""]]}}',
            b'{"settled": true, "models": {"half": [[null, "LOADING", "OK", ""]]}}',
        ],
    )
    def test_a_file_that_makes_no_sense_does_not_count(self, tmp_path: Path, living: int, content: bytes) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (AVAILABLE,)})

        (tmp_path / f"{living}.json").write_bytes(content)

        assert board.read() == {"half": (AVAILABLE,)}

    @pytest.mark.parametrize("name", ["models.json", "-1.json", "1.5.json", ".json", "9" * 30 + ".json", "1.new", "1"])
    def test_files_of_other_names_do_not_count(self, tmp_path: Path, name: str) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (AVAILABLE,)})

        (tmp_path / name).write_text(said('{"half": [[1, "LOADING", "OK", ""]]}'))

        assert board.read() == {"half": (AVAILABLE,)}

    def test_a_file_is_replaced_as_a_whole(self, tmp_path: Path) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (VersionStatus(1, State.LOADING),)})
        (file,) = tmp_path.iterdir()
        with file.open() as before:
            board.publish({"half": (AVAILABLE,)})

            assert json.load(before)["models"] == {"half": [[1, "LOADING", "OK", ""]]}
        assert json.loads(file.read_text())["models"] == {"half": [[1, "AVAILABLE", "OK", ""]]}
        assert list(tmp_path.iterdir()) == [file]

    def test_where_it_cannot_write_it_says_so_and_knows_its_own(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        board = StatusBoard(tmp_path / "missing")

        board.publish({"half": (AVAILABLE,)})

        assert board.read() == {"half": (AVAILABLE,)}
        assert "the other workers cannot be told which models are loaded" in caplog.text

    def test_close_takes_back_what_was_published_and_twice_is_safe(self, tmp_path: Path) -> None:
        board = StatusBoard(tmp_path)
        board.publish({"half": (AVAILABLE,)})

        board.close()
        board.close()

        assert list(tmp_path.iterdir()) == []
