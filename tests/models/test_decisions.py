"""What is loaded or unloaded next; every test is one glance at the disk and at what is known."""

from collections.abc import Mapping

import pytest

from serving.models.decisions import (
    Known,
    LoadVersion,
    Snapshot,
    UnloadVersion,
    backoff_seconds,
    next_action,
    next_retry,
)
from serving.models.source import All, Latest, Policy, Specific, VersionOnDisk
from tests.fakes import ONE, found, on_disk

SERVES = Known(loaded="as made")
FAILED = Known(failed="as made", retry_at=10.0)


def model(*versions: VersionOnDisk | int, policy: Policy = ONE, known: Mapping[int, Known] | None = None) -> Snapshot:
    directories = [on_disk(version) if isinstance(version, int) else version for version in versions]
    return Snapshot(found("half", *directories, policy=policy), known or {})


def unlisted(known: Mapping[int, Known]) -> Snapshot:
    return Snapshot(None, known)


def decide(snapshot: Snapshot, now: float = 0.0) -> str:
    """The next action for one model, as a text."""
    match next_action({"half": snapshot}, now):
        case LoadVersion(_, version):
            return f"load {version.version}"
        case UnloadVersion(_, version):
            return f"unload {version}"
        case _:
            return "nothing"


class TestLoading:
    def test_a_new_version_is_loaded(self) -> None:
        assert decide(model(1)) == "load 1"

    def test_with_the_files_that_were_found(self) -> None:
        version = on_disk(1)

        assert next_action({"half": model(version)}, 0.0) == LoadVersion("half", version)

    def test_nothing_is_done_where_nothing_is_on_disk(self) -> None:
        assert decide(model()) == "nothing"

    def test_nothing_is_done_where_no_model_is_listed(self) -> None:
        assert next_action({}, 0.0) is None

    def test_nothing_is_done_once_the_wanted_version_serves(self) -> None:
        assert decide(model(1, known={1: SERVES})) == "nothing"

    def test_the_highest_new_version_is_loaded_first(self) -> None:
        assert decide(model(1, 2, 3, policy=All())) == "load 3"
        assert decide(model(1, 2, 3, policy=All(), known={3: SERVES})) == "load 2"

    def test_latest_loads_no_more_versions_than_it_counts(self) -> None:
        assert decide(model(1, 2, 3, policy=Latest(2), known={3: SERVES})) == "load 2"
        assert decide(model(1, 2, 3, policy=Latest(2), known={3: SERVES, 2: SERVES})) == "nothing"

    def test_specific_loads_only_what_it_names(self) -> None:
        assert decide(model(1, 2, 3, policy=Specific((2,)))) == "load 2"
        assert decide(model(1, 2, 3, policy=Specific((2,)), known={2: SERVES})) == "nothing"

    def test_specific_waits_for_a_version_that_is_not_there(self) -> None:
        assert decide(model(1, policy=Specific((2,)))) == "nothing"

    def test_a_version_that_is_still_being_copied_is_not_loaded(self) -> None:
        assert decide(model(on_disk(1, still=False))) == "nothing"

    def test_the_next_lower_version_is_loaded_while_the_highest_is_still_being_copied(self) -> None:
        assert decide(model(1, on_disk(2, still=False))) == "load 1"

    def test_models_with_nothing_available_load_first(self) -> None:
        models = {"half": model(2, known={1: SERVES}), "digits": model(7)}

        assert next_action(models, 0.0) == LoadVersion("digits", on_disk(7))

    def test_models_load_in_the_order_in_which_they_are_listed(self) -> None:
        models = {"half": model(1), "digits": model(7)}

        assert next_action(models, 0.0) == LoadVersion("half", on_disk(1))


class TestUnloading:
    def test_an_old_version_is_unloaded_when_a_wanted_one_is_available(self) -> None:
        assert decide(model(1, 2, known={1: SERVES, 2: SERVES})) == "unload 1"

    def test_an_old_version_stays_until_a_wanted_one_is_available(self) -> None:
        assert decide(model(1, 2, known={1: SERVES})) == "load 2"

    def test_old_versions_are_unloaded_before_the_next_is_loaded(self) -> None:
        assert decide(model(1, 2, 3, 4, policy=Latest(2), known={1: SERVES, 2: SERVES, 4: SERVES})) == "unload 1"
        assert decide(model(1, 2, 3, 4, policy=Latest(2), known={2: SERVES, 4: SERVES})) == "unload 2"
        assert decide(model(1, 2, 3, 4, policy=Latest(2), known={4: SERVES})) == "load 3"

    def test_what_is_to_be_unloaded_goes_before_any_model_loads(self) -> None:
        models = {"digits": model(7), "half": model(1, 2, known={1: SERVES, 2: SERVES})}

        assert next_action(models, 0.0) == UnloadVersion("half", 1)

    def test_a_removed_version_stays_until_its_successor_is_available(self) -> None:
        assert decide(model(on_disk(2, still=False), known={1: SERVES})) == "nothing"
        assert decide(model(2, known={1: SERVES})) == "load 2"
        assert decide(model(2, known={1: SERVES, 2: SERVES})) == "unload 1"

    def test_a_removed_version_stays_while_its_successor_fails(self) -> None:
        assert decide(model(2, known={1: SERVES, 2: FAILED})) == "nothing"

    def test_a_removed_version_goes_for_a_lower_one(self) -> None:
        assert decide(model(1, known={2: SERVES})) == "load 1"
        assert decide(model(1, known={1: SERVES, 2: SERVES})) == "unload 2"

    def test_a_removed_version_goes_where_others_of_all_are_available(self) -> None:
        assert decide(model(1, 3, policy=All(), known={1: SERVES, 2: SERVES, 3: SERVES})) == "unload 2"

    def test_what_specific_names_no_longer_goes_once_what_it_names_is_available(self) -> None:
        assert decide(model(1, 2, policy=Specific((2,)), known={1: SERVES})) == "load 2"
        assert decide(model(1, 2, policy=Specific((2,)), known={1: SERVES, 2: SERVES})) == "unload 1"

    def test_with_nothing_on_disk_at_all_everything_is_unloaded(self) -> None:
        assert decide(model(known={1: SERVES, 2: SERVES})) == "unload 1"
        assert decide(model(known={2: SERVES})) == "unload 2"

    def test_an_unlisted_model_is_unloaded(self) -> None:
        assert decide(unlisted({1: SERVES})) == "unload 1"
        assert decide(unlisted({1: FAILED})) == "nothing"

    def test_a_version_that_is_overwritten_right_now_goes_on_serving(self) -> None:
        assert decide(model(1, on_disk(2, "being written", still=False), known={2: SERVES})) == "nothing"


class TestFailures:
    def test_a_failed_newest_makes_room_for_the_next_lower_one_under_latest(self) -> None:
        assert decide(model(1, 2, known={2: FAILED})) == "load 1"

    def test_a_version_that_serves_stays_while_a_newer_one_fails(self) -> None:
        assert decide(model(1, 2, known={1: SERVES, 2: FAILED})) == "nothing"

    @pytest.mark.parametrize("policy", [All(), Specific((2,))])
    def test_a_failed_version_makes_no_room_under_other_policies(self, policy: Policy) -> None:
        known = {1: SERVES, 2: FAILED} if isinstance(policy, All) else {2: FAILED}

        assert decide(model(1, 2, policy=policy, known=known)) == "nothing"

    def test_failing_files_are_not_tried_again_before_their_time(self) -> None:
        assert decide(model(1, known={1: FAILED}), now=9.9) == "nothing"

    def test_failing_files_are_tried_again_when_their_time_has_come(self) -> None:
        assert decide(model(1, known={1: FAILED}), now=10.0) == "load 1"

    def test_a_failed_newest_is_tried_again_although_a_lower_one_serves(self) -> None:
        assert decide(model(1, 2, known={1: SERVES, 2: FAILED}), now=10.0) == "load 2"

    def test_a_failed_lower_one_is_tried_again_where_the_newest_fails_too(self) -> None:
        known = {3: Known(failed="as made", retry_at=60.0), 2: FAILED, 1: SERVES}

        assert decide(model(1, 2, 3, known=known), now=10.0) == "load 2"

    def test_a_failed_lower_one_is_left_alone_where_a_newer_one_serves(self) -> None:
        assert decide(model(1, 2, known={1: FAILED, 2: SERVES}), now=10.0) == "nothing"

    def test_what_was_never_tried_comes_before_what_failed(self) -> None:
        assert decide(model(1, 2, policy=All(), known={2: FAILED}), now=10.0) == "load 1"

    def test_failing_files_are_tried_at_once_when_they_changed(self) -> None:
        assert decide(model(on_disk(1, "repaired"), known={1: FAILED})) == "load 1"

    def test_failing_files_that_are_being_repaired_are_not_tried(self) -> None:
        assert decide(model(on_disk(1, "half repaired", still=False), known={1: FAILED}), now=10.0) == "nothing"

    def test_a_newest_that_works_at_last_replaces_the_lower_one(self) -> None:
        assert decide(model(1, 2, known={1: SERVES, 2: SERVES})) == "unload 1"


class TestChangesInPlace:
    def test_changed_files_are_loaded_anew_while_the_old_ones_serve(self) -> None:
        assert decide(model(on_disk(1, "changed"), known={1: SERVES})) == "load 1"

    def test_changed_files_are_loaded_only_when_still(self) -> None:
        assert decide(model(on_disk(1, "changed", still=False), known={1: SERVES})) == "nothing"

    def test_changed_files_that_fail_leave_the_old_ones_serving(self) -> None:
        known = {2: Known(loaded="as made", failed="changed", retry_at=10.0)}

        assert decide(model(1, on_disk(2, "changed"), known=known)) == "nothing"
        assert decide(model(1, on_disk(2, "changed"), known=known), now=10.0) == "load 2"

    def test_files_changed_back_need_no_loading(self) -> None:
        known = {1: Known(loaded="as made", failed="changed", retry_at=10.0)}

        assert decide(model(1, known=known), now=10.0) == "nothing"


class TestRetries:
    def test_without_failures_there_is_no_next_retry(self) -> None:
        assert next_retry({"half": model(1, 2, known={2: SERVES})}) is None

    def test_the_next_retry_is_the_first_of_those_to_come(self) -> None:
        known = {1: Known(failed="as made", retry_at=8.0), 2: FAILED, 3: SERVES}

        assert next_retry({"half": model(1, 2, 3, policy=All(), known=known), "digits": model(7)}) == 8.0

    @pytest.mark.parametrize(
        "snapshot",
        [
            model(2, known={1: FAILED, 2: SERVES}),
            model(1, 2, known={1: FAILED, 2: SERVES}),
            model(on_disk(1, "repaired"), known={1: FAILED}),
            unlisted({1: FAILED}),
        ],
        ids=["removed", "not wanted", "changed", "unlisted"],
    )
    def test_what_is_not_to_be_tried_again_has_no_next_retry(self, snapshot: Snapshot) -> None:
        assert next_retry({"half": snapshot}) is None

    def test_the_wait_doubles_up_to_a_minute_and_stays_there(self) -> None:
        assert [backoff_seconds(failures) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert backoff_seconds(100_000) == 60
