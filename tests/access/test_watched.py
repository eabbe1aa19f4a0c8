"""Files that are replaced while the server runs."""

from pathlib import Path

import pytest

from serving.access.watched import LOOK_SECONDS, Watched, read_file
from serving.errors import SettingsError
from tests.fakes import FakeClock


def read(path: Path) -> str:
    text = read_file(path).decode()
    if text == "bad":
        raise SettingsError("it is bad")
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("one")
    return file


def replace(file: Path, text: str) -> None:
    file.with_name("draft").write_text(text)
    file.with_name("draft").replace(file)


def test_a_file_that_was_replaced_is_read_within_a_second(file: Path) -> None:
    clock = FakeClock()
    watched = Watched(file, read, "", clock)
    replace(file, "two")
    assert watched.get() == "one"
    clock.pass_by(LOOK_SECONDS)
    assert watched.get() == "two"


def test_a_file_that_has_not_changed_is_not_read_again(file: Path) -> None:
    clock, reads = FakeClock(), list[Path]()
    watched = Watched(file, lambda path: reads.append(path) or len(reads), 0, clock)  # type: ignore[func-returns-value]
    for _ in range(5):
        clock.pass_by(LOOK_SECONDS)
        assert watched.get() == 1


def test_a_file_that_turns_bad_is_logged_once_and_the_last_good_one_stays(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    watched = Watched(file, read, "", clock)
    replace(file, "bad")
    for _ in range(3):
        clock.pass_by(LOOK_SECONDS)
        assert watched.get() == "one"
    assert [record.getMessage() for record in caplog.records] == ["it is bad; the last that could be used holds"]
    replace(file, "three")
    clock.pass_by(LOOK_SECONDS)
    assert watched.get() == "three"


def test_a_file_that_is_gone_leaves_what_it_said(file: Path) -> None:
    clock = FakeClock()
    watched = Watched(file, read, "", clock)
    file.unlink()
    clock.pass_by(LOOK_SECONDS)
    assert watched.get() == "one"


def test_until_there_is_a_good_file_the_fallback_holds(file: Path) -> None:
    clock = FakeClock()
    file.write_text("bad")
    watched = Watched(file, read, "nothing", clock)
    assert watched.get() == "nothing"
    replace(file, "good")
    clock.pass_by(LOOK_SECONDS)
    assert watched.get() == "good"
