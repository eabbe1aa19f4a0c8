"""Whatever happens on disk and whoever borrows what: what always holds in the life of a model."""

from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.errors import LoadError, NotFound, Unavailable
from serving.models.lifecycle import Handle, State, Statuses
from serving.models.manager import ModelManager
from serving.models.source import All, Latest, Policy, Specific, VersionOnDisk, wanted
from tests.fakes import FakeClock, FakeServable, FakeSource, on_disk

VERSIONS = st.integers(1, 3)
MOST = {Latest(1): 1, Latest(2): 2, Specific((1, 3)): 2, All(): 3}
"""How many versions each policy allows."""


class Lifecycle(RuleBasedStateMachine):
    """Versions appear, change, fail, heal and go in any order, while requests borrow and return them."""

    @initialize(policy=st.sampled_from(list(MOST)))
    def start(self, policy: Policy) -> None:
        self.policy = policy
        self.disk: dict[int, VersionOnDisk] = {}
        self.failing: set[int] = set()
        self.changes = 0
        self.fingerprints: dict[FakeServable, str] = {}
        self.lent: list[Handle] = []
        self.must_have_one = False
        self.source = FakeSource()
        self.clock = FakeClock()
        self.manager = ModelManager(self.source, self.load, 1.0, self.check_told, self.clock)

    def load(self, name: str, version: int, path: Path) -> FakeServable:
        if version in self.failing:
            raise LoadError("DATA_LOSS", f"{path} is damaged")
        servable = FakeServable()
        self.fingerprints[servable] = self.disk[version].fingerprint
        return servable

    # What happens.

    @rule(version=VERSIONS, still=st.booleans())
    def appear_or_change(self, version: int, still: bool) -> None:
        self.changes += 1
        self.disk[version] = on_disk(version, f"change {self.changes}", still)

    @rule(version=VERSIONS)
    def disappear(self, version: int) -> None:
        self.disk.pop(version, None)

    @rule(version=VERSIONS)
    def fail_or_heal(self, version: int) -> None:
        self.failing ^= {version}

    @rule(version=st.none() | VERSIONS)
    def borrow(self, version: int | None) -> None:
        available = self.available()
        try:
            self.lent.append(self.manager.borrow("half", version))
        except (NotFound, Unavailable):
            assert version not in available
            assert version is not None or not available
        else:
            assert self.lent[-1].version == (version or max(available))

    @precondition(lambda self: self.lent)
    @rule(which=st.integers(0, 9))
    def give_back(self, which: int) -> None:
        with self.lent.pop(which % len(self.lent)):
            pass

    @rule(listed=st.sampled_from([True, True, False]), at_rest=st.booleans(), seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def reconcile(self, listed: bool, at_rest: bool, seconds: float) -> None:
        self.clock.pass_by(seconds)
        self.disk = {version: replace(found, still=found.still or at_rest) for version, found in self.disk.items()}
        self.source.set("half", *self.disk.values(), policy=self.policy)
        if not listed:
            self.source.unlist("half")
        self.must_have_one = bool(listed and self.disk and self.available())
        self.manager.reconcile()
        self.must_have_one = False
        assert len(self.available()) <= MOST[self.policy]

    @rule()
    def all_goes_well_for_a_while(self) -> None:
        self.failing.clear()
        self.reconcile(listed=True, at_rest=True, seconds=60.0)
        expected = wanted(self.policy, list(self.disk), ())
        if expected or not self.disk:
            assert self.available() == {version: self.disk[version].fingerprint for version in expected}

    # What always holds.

    def check_told(self, statuses: Statuses) -> None:
        """A model that had an available version keeps one while anything of it is on disk."""
        if self.must_have_one:
            assert any(its.state is State.AVAILABLE for its in statuses["half"])

    @invariant()
    def what_is_lent_runs(self) -> None:
        for handle in self.lent:
            handle.servable.run("serving_default", {})

    @invariant()
    def nothing_closes_twice(self) -> None:
        assert all(servable.closes <= 1 for servable in self.fingerprints)

    @invariant()
    def what_is_open_is_available_or_lent(self) -> None:
        lent = {handle.servable for handle in self.lent}
        unclosed = {servable for servable in self.fingerprints if not servable.closes}
        assert len(unclosed - lent) <= len(self.available())

    def available(self) -> dict[int, str]:
        """The fingerprints of the versions that are available, each of which is lent when asked for."""
        found = {}
        for status in self.manager.statuses().get("half", ()):
            if status.state is State.AVAILABLE:
                with self.manager.borrow("half", status.version) as handle:
                    found[status.version] = self.fingerprints[handle.servable]
        return found

    def teardown(self) -> None:
        self.manager.close()
        for handle in self.lent:
            with handle:
                handle.servable.run("serving_default", {})
        assert all(servable.closes == 1 for servable in self.fingerprints)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
