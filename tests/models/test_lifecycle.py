"""Whatever happens on disk and whoever borrows what: what always holds in the life of models."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.errors import NotFound, Unavailable
from serving.models.lifecycle import Handle, LoadError, State, Statuses
from serving.models.manager import ModelManager
from serving.models.source import All, Latest, Policy, Specific, VersionOnDisk, wanted
from tests.fakes import FakeClock, FakeServable, FakeSource, on_disk

MODELS = st.sampled_from(["half", "digits"])
VERSIONS = st.integers(1, 3)
POLICIES = st.sampled_from([Latest(1), Latest(2), All(), Specific((1, 3))])


class Lifecycle(RuleBasedStateMachine):
    """Versions appear, change, fail, heal and go in any order, while requests borrow and return them."""

    @initialize(policies=st.fixed_dictionaries({"half": POLICIES, "digits": POLICIES}))
    def start(self, policies: Mapping[str, Policy]) -> None:
        self.policies = policies
        self.disk: dict[str, dict[int, VersionOnDisk]] = {}
        self.fails: set[tuple[str, int]] = set()
        self.changes = 0
        self.loaded: list[tuple[str, int, FakeServable, str]] = []
        self.lent: list[Handle] = []
        self.had_available: set[str] = set()
        self.source = FakeSource()
        self.clock = FakeClock()
        self.manager = ModelManager(self.source, self.load, 1.0, self.check_told, self.clock)

    def load(self, name: str, version: int, path: Path) -> FakeServable:
        if (name, version) in self.fails:
            raise LoadError("DATA_LOSS", f"{path} is damaged")
        servable = FakeServable()
        self.loaded.append((name, version, servable, self.disk[name][version].fingerprint))
        return servable

    # What happens.

    @rule(name=MODELS, version=VERSIONS, still=st.booleans())
    def appear_or_change(self, name: str, version: int, still: bool) -> None:
        self.changes += 1
        fingerprint = f"change {self.changes}"
        self.disk.setdefault(name, {})[version] = on_disk(version, fingerprint, still, model=name)

    @rule(name=MODELS, version=VERSIONS)
    def disappear(self, name: str, version: int) -> None:
        self.disk.get(name, {}).pop(version, None)

    @rule(name=MODELS)
    def unlist(self, name: str) -> None:
        self.disk.pop(name, None)

    @rule(name=MODELS, version=VERSIONS)
    def fail_or_heal(self, name: str, version: int) -> None:
        self.fails ^= {(name, version)}

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_by(seconds)

    @rule(name=MODELS, version=st.none() | VERSIONS)
    def borrow(self, name: str, version: int | None) -> None:
        try:
            self.lent.append(self.manager.borrow(name, version))
        except (NotFound, Unavailable):
            statuses = self.manager.statuses().get(name, ())
            assert not any(its.state is State.AVAILABLE and version in (None, its.version) for its in statuses)

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(0, 100))
    def give_back(self, which: int) -> None:
        with self.lent.pop(which % len(self.lent)):
            pass

    @rule(at_rest=st.booleans())
    def reconcile(self, at_rest: bool) -> None:
        for name in self.policies:
            if name in self.disk:
                for version, found in self.disk[name].items():
                    self.disk[name][version] = replace(found, still=found.still or at_rest)
                self.source.set(name, *self.disk[name].values(), policy=self.policies[name])
            else:
                self.source.unlist(name)
        self.had_available = {name for name in self.policies if self.available(name)}
        self.manager.reconcile()
        assert all(len(self.available(name)) <= self.most(name) for name in self.policies)

    @rule()
    def all_goes_well_for_a_while(self) -> None:
        self.fails.clear()
        self.clock.pass_by(60.0)
        self.reconcile(at_rest=True)
        for name, versions in self.disk.items():
            expected = set(wanted(self.policies[name], list(versions), ()))
            if expected or not versions:
                assert self.available(name) == {version: versions[version].fingerprint for version in expected}

    # What always holds.

    def check_told(self, statuses: Statuses) -> None:
        """A model that had an available version keeps one while anything of it is on disk."""
        for name in self.had_available:
            if self.disk.get(name):
                assert any(its.state is State.AVAILABLE for its in statuses[name]), f"{name} has none left"

    @invariant()
    def what_is_lent_runs(self) -> None:
        for handle in self.lent:
            handle.servable.run("serving_default", {})

    @invariant()
    def nothing_closes_twice(self) -> None:
        assert all(servable.closes <= 1 for _, _, servable, _ in self.loaded)

    @invariant()
    def what_is_open_is_available_or_lent(self) -> None:
        lent = {id(handle.servable) for handle in self.lent}
        still_open = [servable for _, _, servable, _ in self.loaded if not servable.closes and id(servable) not in lent]
        assert len(still_open) <= sum(len(self.available(name)) for name in self.policies)

    def available(self, name: str) -> dict[int, str]:
        """The fingerprints of the available versions, all of which are lent when asked for."""
        found = {}
        for status in self.manager.statuses().get(name, ()):
            if status.state is State.AVAILABLE:
                with self.manager.borrow(name, status.version) as handle:
                    found[status.version] = self.fingerprint(handle)
        return found

    def fingerprint(self, handle: Handle) -> str:
        return next(fingerprint for _, _, servable, fingerprint in self.loaded if servable is handle.servable)

    def most(self, name: str) -> int:
        """How many versions the policy allows."""
        match self.policies[name]:
            case Latest(count):
                return count
            case Specific(versions):
                return len(versions)
            case All():
                return 3

    def teardown(self) -> None:
        self.had_available = set()
        self.manager.close()
        for handle in self.lent:
            with handle:
                handle.servable.run("serving_default", {})
        assert all(servable.closes == 1 for _, _, servable, _ in self.loaded)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
