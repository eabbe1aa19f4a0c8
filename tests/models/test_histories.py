"""What is served after any history of the model directory, the orders and the requests, against a few plain rules."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from serving.caller import PATIENT, Caller
from serving.errors import InvalidArgument, LoadError, NotFound
from serving.models.control import ControlledSource, OrderFile
from serving.models.lifecycle import Handle, State
from serving.models.manager import ModelManager
from serving.models.source import All, Latest, Policy, Specific, VersionOnDisk
from tests.conftest import Held
from tests.fakes import FakeClock, FakeServable, FakeSource

LONGEST_WAIT = 61.0
"""Seconds after which every version that failed has been due again."""

MODELS = st.sampled_from(["half", "twice"])
VERSIONS = st.integers(1, 4)
POLICIES = st.sampled_from([Latest(1), Latest(2), All(), Specific((1, 3))])
WAYS_TO_WRITE = st.sampled_from([{}, {}, {}, {"sound": False}, {"still": False}])
"""A version is published, damaged, or begun to be copied."""
LABELS = st.dictionaries(st.sampled_from(["stable", "canary"]), VERSIONS, max_size=2)


@dataclass(frozen=True)
class Files:
    """The files of one version: which of all that were ever written, whole, sound."""

    writing: int
    still: bool = True
    sound: bool = True

    @property
    def loads(self) -> bool:
        return self.still and self.sound


class Servable(FakeServable):
    """Answers which files it was loaded from."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self.files = files

    def run(self, signature: str, inputs: Mapping[str, Any], caller: Caller = PATIENT) -> dict[str, Any]:
        super().run(signature, inputs, caller)
        return {"writing": self.files.writing}


class Directory:
    """A model directory that is written to by hand, and what loads from it."""

    def __init__(self) -> None:
        self.source = FakeSource()
        self.models: dict[str, dict[int, Files]] = {}
        self.policies: dict[str, Policy] = {}
        self.labels: dict[str, Mapping[str, int]] = {}
        self.loads: Counter[tuple[str, int]] = Counter()
        self.servables: list[Servable] = []
        self.troubled: set[tuple[str, int]] = set()
        """Versions whose files cannot be read for now, though there is nothing wrong with them."""
        self._writings = 0

    def write(self, model: str, version: int, **state: bool) -> None:
        self._writings += 1
        self.models.setdefault(model, {})[version] = Files(self._writings, **state)

    def show(self) -> None:
        """Have the source find what is there."""
        for model in set(self.source.poll()) - set(self.models):
            self.source.unlist(model)
        for model, versions in self.models.items():
            found = [
                VersionOnDisk(version, Path(model, str(version)), f"writing {files.writing}", files.still)
                for version, files in versions.items()
            ]
            self.source.set(model, *found, policy=self.policy(model), labels=self.labels.get(model))

    def policy(self, model: str) -> Policy:
        return self.policies.get(model, Latest(1))

    def loadable(self, model: str) -> set[int]:
        """The versions that would load now."""
        versions = self.models.get(model, {}).items()
        return {version for version, its in versions if its.loads and (model, version) not in self.troubled}

    def load(self, name: str, version: int, path: Path) -> Servable:
        assert path == Path(name, str(version))
        self.loads[name, version] += 1
        files = self.models[name][version]
        assert files.still, "half a version was loaded"
        if not files.sound or (name, version) in self.troubled:
            raise LoadError("DATA_LOSS", f"{path} is damaged")
        self.servables.append(Servable(files))
        return self.servables[-1]


class Histories(RuleBasedStateMachine):
    """Whoever copies, damages and removes versions, gives orders and asks; the manager looks when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Directory()
        self.clock = FakeClock()
        self.orders = OrderFile(None)
        source = ControlledSource(self.disk.source, self.orders)
        self.manager = ModelManager(source, self.disk.load, poll_seconds=1.0, clock=self.clock)
        self.served: dict[str, dict[int, int]] = {}
        """The writing that each version serves, as of the last look; the last of it that could be borrowed."""
        self.lent: list[tuple[Handle, int]] = []
        self.look()

    @initialize(of_half=st.sets(VERSIONS, min_size=1), of_twice=st.sets(VERSIONS, min_size=1))
    def publish(self, of_half: set[int], of_twice: set[int]) -> None:
        for model, versions in {"half": of_half, "twice": of_twice}.items():
            for version in versions:
                self.disk.write(model, version)
        self.look()

    @rule(writes=st.lists(st.tuples(MODELS, VERSIONS, WAYS_TO_WRITE), min_size=1, max_size=3), looks=st.booleans())
    def write_several(self, writes: list[tuple[str, int, dict[str, bool]]], looks: bool) -> None:
        for model, version, how in writes:
            self.disk.write(model, version, **how)
        self.look(looks)

    @rule(model=MODELS, version=VERSIONS, how=WAYS_TO_WRITE, looks=st.booleans())
    def write(self, model: str, version: int, how: dict[str, bool], looks: bool) -> None:
        self.disk.write(model, version, **how)
        self.look(looks)

    @rule(looks=st.booleans())
    def finish_copies(self, looks: bool) -> None:
        for versions in self.disk.models.values():
            versions.update({version: replace(files, still=True) for version, files in versions.items()})
        self.look(looks)

    @rule(model=MODELS, version=VERSIONS, looks=st.booleans())
    def remove(self, model: str, version: int, looks: bool) -> None:
        self.disk.models.get(model, {}).pop(version, None)
        self.look(looks)

    @rule(model=MODELS)
    def unlist(self, model: str) -> None:
        self.disk.models.pop(model, None)

    @rule(model=MODELS, policy=POLICIES, looks=st.booleans())
    def want(self, model: str, policy: Policy, looks: bool) -> None:
        self.disk.policies[model] = policy
        self.look(looks)

    @rule(model=MODELS, labels=LABELS, looks=st.booleans())
    def label(self, model: str, labels: dict[str, int], looks: bool) -> None:
        self.disk.labels[model] = labels
        self.look(looks)

    @rule(model=MODELS, serve=st.sampled_from([True, True, False]), looks=st.booleans())
    def order(self, model: str, serve: bool, looks: bool) -> None:
        self.orders.give(model, serve)
        self.look(looks)

    @rule(model=MODELS, version=VERSIONS, begins=st.booleans(), looks=st.booleans())
    def trouble(self, model: str, version: int, begins: bool, looks: bool) -> None:
        if begins:
            self.disk.troubled.add((model, version))
        else:
            self.disk.troubled.discard((model, version))
        self.look(looks)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, LONGEST_WAIT]))
    def pass_time(self, seconds: float) -> None:
        self.clock.pass_by(seconds)

    @rule(model=MODELS, times=st.integers(1, 2))
    def borrow(self, model: str, times: int) -> None:
        for _ in range(times if self.served.get(model) else 0):
            handle = self.manager.borrow(model)
            self.lent.append((handle, self.served[model][handle.version]))

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(0, 9))
    def give_back(self, which: int) -> None:
        handle, writing = self.lent.pop(which % len(self.lent))
        with handle:
            assert handle.servable.run("serving_default", {}) == {"writing": writing}

    def look(self, really: bool = True) -> None:
        """Have the manager look, unless it is not time for that yet."""
        if not really:
            return
        before = self.served
        self.disk.loads.clear()
        self.disk.show()
        self.manager.reconcile()
        assert set(self.disk.loads.values()) <= {1}, "a version was loaded twice in one look"
        self.served = {model: dict(self._available(model)) for model in self._names()}
        for model in before:
            self._check_nothing_was_dropped(model, before[model])

    @rule()
    def settle(self) -> None:
        """Look until nothing changes any more and all that failed has been tried again."""
        for _ in range(3):
            self.pass_time(LONGEST_WAIT)
            self.look()
        for model in self._names():
            self._check_settled(model)

    @invariant()
    def requests_get_what_was_there_at_the_last_look(self) -> None:
        for model in self._names():
            served = self.served.get(model, {})
            for version in [None, 1, 2, 3, 4]:
                expected = max(served, default=None) if version is None else version
                self._check_request(model, expected in served, expected, version=version)

    @invariant()
    def labels_lead_to_their_versions(self) -> None:
        for model in self._names():
            shown = self.manager.labels(model)
            for label, version in shown.items():
                self._check_request(model, version in self.served.get(model, {}), version, label=label)
            with pytest.raises(InvalidArgument):
                self.manager.borrow(model, label="nobody's")

    @invariant()
    def statuses_say_what_is_available(self) -> None:
        for model, statuses in self.manager.statuses().items():
            available = {status.version for status in statuses if status.state is State.AVAILABLE}
            assert available == set(self.served.get(model, {}))
            assert all(status.state is State.END for status in statuses if status.failed)

    @invariant()
    def no_version_is_closed_twice(self) -> None:
        assert all(servable.closes <= 1 for servable in self.disk.servables)

    def teardown(self) -> None:
        for handle, writing in self.lent:
            with handle:
                assert handle.servable.run("serving_default", {}) == {"writing": writing}
        self.manager.close()
        assert all(servable.closes == 1 for servable in self.disk.servables)

    def _names(self) -> list[str]:
        return sorted({"half", "twice"} | set(self.manager.statuses()))

    def _available(self, model: str) -> Iterator[tuple[int, int]]:
        for status in self.manager.statuses().get(model, ()):
            if status.state is State.AVAILABLE:
                with self.manager.borrow(model, version=status.version) as handle:
                    assert (handle.model, handle.version) == (model, status.version)
                    yield status.version, handle.servable.run("serving_default", {})["writing"]

    def _to_be_served(self, model: str) -> bool:
        return bool(self.disk.models.get(model)) and model not in self.orders.read().unloaded

    def _check_request(self, model: str, is_served: bool, expected: int | None, **choice: Any) -> None:
        if not is_served:
            with pytest.raises(NotFound):
                self.manager.borrow(model, **choice)
            return
        with self.manager.borrow(model, **choice) as handle:
            assert handle.version == expected
            assert handle.servable.run("serving_default", {}) == {"writing": self.served[model][handle.version]}

    def _check_nothing_was_dropped(self, model: str, before: Mapping[int, int]) -> None:
        if not before or not self._to_be_served(model):
            return
        assert self.served[model], f"{model} is served no more, though it ought to be"
        there, policy, loadable = (
            set(before) & set(self.disk.models[model]),
            self.disk.policy(model),
            self.disk.loadable(model),
        )
        keep = chosen(policy, there | loadable) & there
        if policy == Latest(2):  # the lower makes room before a new one is loaded, and can only be had back if it loads
            keep &= loadable
        assert keep <= set(self.served[model]), f"{model}: {keep} were served and are still wanted"

    def _check_settled(self, model: str) -> None:
        served = self.served[model]
        if not self._to_be_served(model):
            assert not served, f"{model} is still served"
            return
        files = self.disk.models[model]
        loading = self.disk.loadable(model)
        keep = chosen(self.disk.policy(model), loading | set(served) & set(files))
        if keep & (loading | set(served)):
            assert set(served) == keep, f"{model}: {keep} are wanted and can be had"
        for version in keep & loading:
            assert served[version] == files[version].writing, f"{model} {version} serves old files"
        self._check_reason(model, files)

    def _check_reason(self, model: str, files: Mapping[int, Files]) -> None:
        highest = max(files)
        its = files[highest]
        if its.still and not its.sound and not isinstance(self.disk.policy(model), Specific):
            if highest in self.served[model]:
                return  # what was loaded before goes on serving
            (status,) = [status for status in self.manager.statuses()[model] if status.version == highest]
            assert (status.state, status.error_code) == (State.END, "DATA_LOSS")
            assert "is damaged" in status.error_message


def chosen(policy: Policy, versions: set[int]) -> set[int]:
    """What a policy wants of versions that can be had."""
    match policy:
        case Latest(count):
            return set(sorted(versions)[-count:])
        case Specific(named):
            return versions & set(named)
        case All():
            return versions


PROFILE = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def test_what_is_served_follows_the_rules_after_any_history() -> None:
    few = settings(PROFILE, max_examples=40, stateful_step_count=30, derandomize=True)
    run_state_machine_as_test(Histories, settings=few)


@pytest.mark.faults
def test_what_is_served_follows_the_rules_after_ten_thousand_histories(held: Held) -> None:
    steps = Counter[str]()

    class Counted(Histories):
        def teardown(self) -> None:
            steps["histories"] += 1
            steps["loads"] += len(self.disk.servables)
            super().teardown()

    many = settings(PROFILE, max_examples=10_000, stateful_step_count=30)
    try:
        run_state_machine_as_test(Counted, settings=many)
        found = "nothing found"
    except BaseException as error:
        found = f"{type(error).__name__}"
        raise
    finally:
        held(
            "histories of load, unload, predict, publish, damage, remove and relabel",
            "nothing found over 10,000",
            f"{found}; {steps['histories']} histories of 30 steps, {steps['loads']} loads",
        )
