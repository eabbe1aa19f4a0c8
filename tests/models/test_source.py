"""What the sources find on disk; files are fakes, the clock is a variable, and nothing sleeps."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.models.directory import DirectorySource, check_directory
from serving.models.scanner import Scanner, parse_version, read_tree
from serving.models.source import All, Latest, ModelConfig, ModelOnDisk, Source, Specific, nothing_settled, wanted

needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")

AGES = 2 * 3600


class Clock:
    """Starts an hour before the files of the test are made, so that they look new until `pass_by(AGES)`."""

    def __init__(self) -> None:
        self.seconds = time.time() - 3600

    def __call__(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    return directory


@pytest.fixture
def locked() -> Iterator[Callable[[Path], None]]:
    """Take all permissions from directories; they are given back afterwards, so that they can be deleted."""
    taken: list[Path] = []

    def lock(directory: Path) -> None:
        directory.chmod(0)
        taken.append(directory)

    yield lock
    for directory in taken:
        directory.chmod(0o755)


def save_model(directory: Path, content: str = "a graph") -> Path:
    (directory / "variables").mkdir(parents=True)
    (directory / "variables" / "variables.index").write_text(content)
    (directory / "saved_model.pb").write_text(content)
    return directory


def look_once(directory: Path) -> Source:
    return DirectorySource(directory, "default", Scanner(poll_seconds=0))


def numbers(model: ModelOnDisk) -> list[int]:
    return [version.version for version in model.versions]


def still(source: Source, model: str = "default") -> dict[int, bool]:
    return {version.version: version.still for version in source.poll()[model].versions}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class TestWanted:
    def test_latest_wants_the_highest_version(self) -> None:
        assert wanted(Latest(), [1, 3, 2], failed=()) == (3,)

    def test_latest_two_wants_the_two_highest_highest_first(self) -> None:
        assert wanted(Latest(2), [1, 3, 2], failed=()) == (3, 2)

    def test_latest_falls_back_to_the_next_lower_version_when_the_highest_failed(self) -> None:
        assert wanted(Latest(), [1, 2, 3], failed={3}) == (2,)

    def test_latest_wants_nothing_when_all_failed(self) -> None:
        assert wanted(Latest(), [1, 2], failed={1, 2}) == ()

    def test_latest_takes_what_there_is_when_there_are_fewer(self) -> None:
        assert wanted(Latest(5), [2, 1], failed=()) == (2, 1)

    def test_all_wants_every_version_even_a_failed_one(self) -> None:
        assert wanted(All(), [1, 3, 2], failed={3}) == (3, 2, 1)

    def test_specific_wants_those_on_disk_even_a_failed_one(self) -> None:
        assert wanted(Specific((1, 2, 9)), [1, 2, 3], failed={2}) == (2, 1)


class TestVersionNames:
    @pytest.mark.parametrize(
        ("name", "version"), [("1", 1), ("0", 0), ("00000123", 123), ("9223372036854775807", 2**63 - 1)]
    )
    def test_digits_are_a_version(self, name: str, version: int) -> None:
        assert parse_version(name) == version

    @pytest.mark.parametrize(
        "name", ["", "v1", "-1", "+1", "1.0", " 1", "1_0", "0x1", "\u00b2", "\u0661", "9223372036854775808", "9" * 255]
    )
    def test_anything_else_is_not(self, name: str) -> None:
        assert parse_version(name) is None


class TestLayouts:
    def test_an_empty_directory_yields_nothing(self, models: Path) -> None:
        assert look_once(models).poll() == {}

    @pytest.mark.parametrize("file", ["saved_model.pb", "saved_model.pbtxt"])
    def test_a_saved_model_in_the_directory_is_version_1_of_the_default_model(self, models: Path, file: str) -> None:
        (models / file).touch()

        model = look_once(models).poll()["default"]

        assert model.config == ModelConfig("default", models, unversioned=True)
        assert [(version.version, version.path) for version in model.versions] == [(1, models)]

    def test_integer_directories_are_versions_of_the_default_model_highest_first(self, models: Path) -> None:
        for version in ("9", "10", "1"):
            save_model(models / version)

        found = look_once(models).poll()

        assert list(found) == ["default"]
        assert found["default"].config == ModelConfig("default", models)
        assert numbers(found["default"]) == [10, 9, 1]

    def test_directories_with_versions_are_models_of_that_name(self, models: Path) -> None:
        save_model(models / "half" / "1")
        save_model(models / "digits" / "7")

        found = look_once(models).poll()

        assert {name: numbers(model) for name, model in found.items()} == {"digits": [7], "half": [1]}
        assert found["half"].config == ModelConfig("half", models / "half")

    def test_a_model_may_be_named_by_a_number(self, models: Path) -> None:
        save_model(models / "2024" / "1")

        assert numbers(look_once(models).poll()["2024"]) == [1]

    def test_files_hidden_directories_caches_and_directories_without_versions_are_no_models(self, models: Path) -> None:
        save_model(models / "half" / "1")
        save_model(models / ".trash" / "1")
        save_model(models / "__pycache__" / "1")
        save_model(models / "unversioned")
        (models / "README.md").touch()
        (models / "empty").mkdir()

        assert list(look_once(models).poll()) == ["half"]

    def test_a_link_to_a_directory_is_a_model(self, models: Path, tmp_path: Path) -> None:
        save_model(tmp_path / "elsewhere" / "3")
        (models / "half").symlink_to(tmp_path / "elsewhere")

        assert numbers(look_once(models).poll()["half"]) == [3]

    def test_a_link_to_a_directory_is_a_version(self, models: Path, tmp_path: Path) -> None:
        (models / "3").symlink_to(save_model(tmp_path / "elsewhere"))

        assert numbers(look_once(models).poll()["default"]) == [3]

    def test_the_layout_is_recognised_anew_at_each_poll(self, models: Path) -> None:
        source = look_once(models)
        save_model(models / "1")
        assert list(source.poll()) == ["default"]

        shutil.rmtree(models / "1")
        save_model(models / "half" / "1")
        assert list(source.poll()) == ["half"]

    def test_versions_without_a_saved_model_are_listed_beside_one_that_has_it(self, models: Path) -> None:
        save_model(models / "1")
        (models / "2").mkdir()

        assert numbers(look_once(models).poll()["default"]) == [2, 1]


class TestVersions:
    def test_leading_zeros_do_not_count(self, models: Path) -> None:
        save_model(models / "00000123")

        (version,) = look_once(models).poll()["default"].versions

        assert (version.version, version.path) == (123, models / "00000123")

    def test_other_children_are_ignored(self, models: Path) -> None:
        save_model(models / "1")
        save_model(models / "tmp-2")
        (models / "3").touch()
        (models / "9223372036854775808").mkdir()

        assert numbers(look_once(models).poll()["default"]) == [1]

    def test_of_two_names_of_a_version_the_one_with_a_saved_model_counts(self, models: Path) -> None:
        (models / "1").mkdir()
        save_model(models / "01")

        (version,) = look_once(models).poll()["default"].versions

        assert version.path == models / "01"

    def test_of_two_complete_names_of_a_version_the_shorter_counts(self, models: Path) -> None:
        save_model(models / "001")
        save_model(models / "1")
        save_model(models / "01")

        (version,) = look_once(models).poll()["default"].versions

        assert version.path == models / "1"

    def test_two_names_of_a_version_are_logged_once(self, models: Path, caplog: pytest.LogCaptureFixture) -> None:
        save_model(models / "1")
        save_model(models / "01")
        source = look_once(models)

        source.poll()
        source.poll()

        used, ignored = models / "1", models / "01"
        assert warnings(caplog) == [f"model default version 1: {used} is used, {ignored} is ignored"]

    def test_two_names_of_a_version_are_logged_again_when_they_come_back(
        self, models: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        save_model(models / "1")
        source = look_once(models)
        for _ in range(2):
            save_model(models / "01")
            source.poll()
            shutil.rmtree(models / "01")
            source.poll()

        assert len(warnings(caplog)) == 2


class TestStillness:
    """A version that is being copied is not still; poll every 2 seconds, as the clock of the test says."""

    @pytest.fixture
    def source(self, models: Path, clock: Clock) -> Source:
        save_model(models / "1")
        return DirectorySource(models, "default", Scanner(poll_seconds=2, now=clock))

    def test_a_version_that_just_changed_is_not_still(self, source: Source) -> None:
        assert still(source) == {1: False}

    def test_a_version_is_still_after_a_quiet_poll(self, source: Source, clock: Clock) -> None:
        source.poll()
        clock.pass_by(2)

        assert still(source) == {1: True}

    def test_a_version_that_is_copied_file_by_file_is_still_only_after_a_quiet_poll(
        self, models: Path, source: Source, clock: Clock
    ) -> None:
        source.poll()
        for number in range(5):
            clock.pass_by(2)
            (models / "1" / "variables" / f"variables.data-0000{number}").touch()
            os.utime(models / "1", ns=(0, 0))  # as copying tools do, that give old times to what they copy
            os.utime(models / "1" / "variables" / f"variables.data-0000{number}", ns=(0, 0))
            assert still(source) == {1: False}

        clock.pass_by(2)
        assert still(source) == {1: True}

    def test_a_file_that_grows_is_not_still(self, models: Path, source: Source, clock: Clock) -> None:
        data = models / "1" / "variables" / "variables.data"
        for size in range(1, 4):
            data.write_bytes(b"x" * size)
            os.utime(data, ns=(0, 0))
            assert still(source) == {1: False}
            clock.pass_by(2)

    def test_a_poll_out_of_turn_proves_nothing(self, source: Source, clock: Clock) -> None:
        source.poll()
        clock.pass_by(0.01)

        assert still(source) == {1: False}

    def test_a_timer_that_fires_a_little_early_is_a_poll(self, source: Source, clock: Clock) -> None:
        source.poll()
        clock.pass_by(1.99)

        assert still(source) == {1: True}

    def test_a_clock_set_back_does_not_hold_up_a_version(self, source: Source, clock: Clock) -> None:
        source.poll()
        clock.pass_by(-3600)

        assert still(source) == {1: True}

    def test_a_version_that_settled_before_the_start_is_still_at_once(self, source: Source, clock: Clock) -> None:
        clock.pass_by(AGES)

        assert still(source) == {1: True}

    def test_a_finished_version_that_arrives_by_rename_is_still_at_once(
        self, models: Path, source: Source, clock: Clock, tmp_path: Path
    ) -> None:
        save_model(tmp_path / "staging")
        clock.pass_by(AGES)
        source.poll()

        (tmp_path / "staging").rename(models / "2")

        assert still(source) == {2: True, 1: True}

    def test_everything_is_still_when_polled_once(self, models: Path) -> None:
        save_model(models / "1")

        assert still(look_once(models)) == {1: True}

    def test_a_version_that_went_and_came_back_must_be_still_again(
        self, models: Path, source: Source, clock: Clock
    ) -> None:
        save_model(models / "2")
        source.poll()
        (models / "2").rename(models / "away")
        source.poll()
        clock.pass_by(2)

        (models / "away").rename(models / "2")

        assert still(source) == {2: False, 1: True}


class TestFingerprint:
    def test_it_stays_while_nothing_changes(self, tmp_path: Path) -> None:
        save_model(tmp_path / "1")

        assert read_tree(tmp_path / "1") == read_tree(tmp_path / "1")

    @pytest.mark.parametrize(
        "change",
        [
            lambda model: (model / "saved_model.pb").write_text("a longer graph"),
            lambda model: os.utime(model / "saved_model.pb", ns=(1, 1)),
            lambda model: (model / "variables" / "more").touch(),
            lambda model: (model / "variables" / "variables.index").rename(model / "variables" / "other"),
            lambda model: (model / "assets").mkdir(),
            lambda model: os.utime(model, ns=(1, 1)),
        ],
        ids=["size", "time", "new file", "rename", "new directory", "own time"],
    )
    def test_it_changes_with_any_file_or_directory(self, tmp_path: Path, change: Callable[[Path], object]) -> None:
        model = save_model(tmp_path / "1")
        before = read_tree(model).fingerprint

        change(model)

        assert read_tree(model).fingerprint != before

    def test_links_in_circles_and_to_nowhere_are_no_trouble(self, tmp_path: Path) -> None:
        model = save_model(tmp_path / "1")
        (model / "circle").symlink_to(model)
        (model / "itself").symlink_to("itself")
        (model / "nowhere").symlink_to("nothing")

        assert read_tree(model) == read_tree(model)

    def test_names_that_are_not_utf8_are_no_trouble(self, tmp_path: Path) -> None:
        model = save_model(tmp_path / "1")
        (model / os.fsdecode(b"\xff")).touch()

        assert read_tree(model) == read_tree(model)


class TestSettled:
    """What the caller has loaded is not read again unless its directory or saved model file changed."""

    def fingerprint(self, source: Source, settled: Callable[[Path], bool]) -> str:
        (version,) = source.poll(settled)["default"].versions
        return version.fingerprint

    def test_files_below_a_settled_version_are_not_read_again(self, models: Path) -> None:
        save_model(models / "1")
        source = look_once(models)
        before = self.fingerprint(source, nothing_settled)

        (models / "1" / "variables" / "more").touch()

        assert self.fingerprint(source, lambda path: path == models / "1") == before
        assert self.fingerprint(source, nothing_settled) != before

    @pytest.mark.parametrize("change", ["replaced", "exported again"])
    def test_a_settled_version_is_read_again_when_it_was_replaced(
        self, models: Path, tmp_path: Path, change: str
    ) -> None:
        save_model(models / "1")
        source = look_once(models)
        before = self.fingerprint(source, nothing_settled)

        if change == "replaced":
            (models / "1").rename(tmp_path / "old")
            save_model(models / "1", "another graph")
        else:
            (models / "1" / "saved_model.pb").write_text("another graph")

        assert self.fingerprint(source, lambda path: True) != before

    def test_a_settled_version_seen_for_the_first_time_is_read(self, models: Path) -> None:
        save_model(models / "1")

        assert self.fingerprint(look_once(models), lambda path: True) == read_tree(models / "1").fingerprint

    def test_a_settled_version_that_is_gone_is_left_out(self, models: Path) -> None:
        save_model(models / "1")
        save_model(models / "2")
        source = look_once(models)
        source.poll()

        shutil.rmtree(models / "2")

        assert numbers(source.poll(lambda path: True)["default"]) == [1]


class TestRaces:
    def test_a_version_removed_between_polls_is_left_out(self, models: Path) -> None:
        save_model(models / "half" / "1")
        save_model(models / "half" / "2")
        source = look_once(models)
        source.poll()

        shutil.rmtree(models / "half" / "2")

        assert numbers(source.poll()["half"]) == [1]

    def test_a_model_whose_only_version_is_removed_is_left_out(self, models: Path) -> None:
        save_model(models / "half" / "1")
        save_model(models / "digits" / "1")
        source = look_once(models)
        source.poll()

        shutil.rmtree(models / "half" / "1")

        assert list(source.poll()) == ["digits"]

    def test_a_version_that_vanishes_while_it_is_looked_at_is_left_out(self, models: Path) -> None:
        save_model(models / "1")
        save_model(models / "2")

        def remove_after_listing(path: Path) -> bool:
            if path == models / "2":
                shutil.rmtree(path)
            return False

        assert numbers(look_once(models).poll(remove_after_listing)["default"]) == [1]

    def test_a_directory_that_vanishes_keeps_its_models_and_is_logged_once(
        self, models: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        save_model(models / "1")
        source = look_once(models)
        before = source.poll()

        shutil.rmtree(models)

        assert source.poll() == before
        assert source.poll() == before
        assert warnings(caplog) == [f"cannot list {models}: No such file or directory; nothing changes"]

    def test_a_model_that_cannot_be_listed_keeps_its_versions(
        self, models: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        base_path = models / "half"
        save_model(base_path / "1")
        scanner = Scanner(poll_seconds=0)
        before = scanner.scan([ModelConfig("half", base_path)])

        shutil.rmtree(base_path)

        assert scanner.scan([ModelConfig("half", base_path)]) == before
        assert scanner.scan([ModelConfig("half", base_path)]) == before
        assert warnings(caplog) == [f"model half: cannot list {base_path}: No such file or directory"]

    def test_a_model_that_moved_to_a_missing_directory_has_no_versions(self, models: Path) -> None:
        save_model(models / "half" / "1")
        scanner = Scanner(poll_seconds=0)
        scanner.scan([ModelConfig("half", models / "half")])

        assert scanner.scan([ModelConfig("half", models / "missing")])["half"].versions == ()


class TestPermissions:
    @needs_permissions
    def test_a_directory_that_may_not_be_read_is_no_model(self, models: Path, locked: Callable[[Path], None]) -> None:
        save_model(models / "half" / "1")
        (models / "lost+found").mkdir()
        locked(models / "lost+found")

        assert list(look_once(models).poll()) == ["half"]

    @needs_permissions
    def test_a_model_that_may_no_longer_be_read_keeps_its_versions(
        self, models: Path, locked: Callable[[Path], None]
    ) -> None:
        save_model(models / "half" / "1")
        source = look_once(models)
        before = source.poll()

        locked(models / "half")

        assert source.poll() == before

    @needs_permissions
    def test_a_version_that_may_not_be_read_is_left_out_and_logged(
        self, models: Path, locked: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        save_model(models / "1")
        save_model(models / "2")
        locked(models / "2")

        assert numbers(look_once(models).poll()["default"]) == [1]
        assert "Permission denied" in warnings(caplog)[0]

    @needs_permissions
    def test_a_version_that_may_no_longer_be_read_stays(self, models: Path, locked: Callable[[Path], None]) -> None:
        save_model(models / "1")
        save_model(models / "2")
        source = look_once(models)
        before = source.poll()

        locked(models / "2")

        assert source.poll() == before


class TestCheckDirectory:
    def test_a_readable_directory_passes(self, models: Path) -> None:
        check_directory(models)

    def test_a_missing_directory_says_to_create_it(self, models: Path) -> None:
        with pytest.raises(SettingsError, match=r"missing does not exist: create or mount it") as caught:
            check_directory(models / "missing")
        assert "\n" not in str(caught.value)

    def test_a_file_is_not_a_directory(self, models: Path) -> None:
        (models / "file").touch()

        with pytest.raises(SettingsError, match=r"file is not a directory"):
            check_directory(models / "file")

    @needs_permissions
    @pytest.mark.parametrize("mode", [0o000, 0o400])
    def test_a_directory_without_permission_says_which_to_give(self, models: Path, mode: int) -> None:
        models.chmod(mode)

        with pytest.raises(SettingsError, match=r"read and execute permission"):
            check_directory(models)

        models.chmod(0o755)
