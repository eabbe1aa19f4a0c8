"""Stand-ins for what is slow: a servable without TensorFlow, a source without a disk, a clock that is a variable."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.caller import PATIENT, Caller
from serving.errors import LoadError
from serving.models.about import About
from serving.models.source import Latest, ModelConfig, ModelOnDisk, Policy, Settled, VersionOnDisk, nothing_settled

ONE = Latest(1)


class FakeServable:
    """Answers its inputs; to run it once it is closed is an error."""

    def __init__(self, signatures: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        self.signatures = signatures or {}
        self.metadata = metadata or {}
        self.batching: Mapping[str, Any] = {}
        self.about = About()
        self.is_quick = False
        self.closes = 0

    def run(self, signature: str, inputs: Mapping[str, Any], caller: Caller = PATIENT) -> dict[str, Any]:
        assert not self.closes, "run after close"
        return dict(inputs)

    def answers_in_loop(self, body_bytes: int) -> bool:
        return False

    def close(self) -> None:
        self.closes += 1


class FakeSource:
    """Finds what a test has put there; `settled` are the directories that it was told to be loaded."""

    def __init__(self) -> None:
        self._models: dict[str, ModelOnDisk] = {}
        self.settled: set[Path] = set()
        self.polls = 0

    def set(
        self,
        model: str,
        *versions: VersionOnDisk,
        policy: Policy = ONE,
        labels: Mapping[str, int] | None = None,
        quarantined: Mapping[int, str] | None = None,
    ) -> None:
        """List a model with these versions and no others."""
        on_disk = found(model, *versions, policy=policy, labels=labels)
        self._models = {**self._models, model: replace(on_disk, quarantined=quarantined or {})}

    def unlist(self, model: str) -> None:
        """List a model no longer."""
        self._models = {name: on_disk for name, on_disk in self._models.items() if name != model}

    def poll(self, settled: Settled = nothing_settled) -> Mapping[str, ModelOnDisk]:
        self.polls += 1
        paths = {version.path for model in self._models.values() for version in model.versions}
        self.settled = {path for path in paths if settled(path)}
        return self._models


class FakeLoader:
    """Loads a FakeServable for each version, or fails where a test says so."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, int]] = []
        self.servables: list[FakeServable] = []
        self.failing: set[tuple[str, int]] = set()

    def __call__(self, name: str, version: int, path: Path) -> FakeServable:
        self.loaded.append((name, version))
        if (name, version) in self.failing:
            raise LoadError("DATA_LOSS", f"{path.name} is damaged")
        self.servables.append(FakeServable())
        return self.servables[-1]


class FakeClock:
    """A clock in seconds that moves when a test says so."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


def found(
    model: str, *versions: VersionOnDisk, policy: Policy = ONE, labels: Mapping[str, int] | None = None
) -> ModelOnDisk:
    """A model as a source finds it, highest version first."""
    highest_first = sorted(versions, key=lambda version: version.version, reverse=True)
    return ModelOnDisk(ModelConfig(model, Path(model), policy, labels or {}), tuple(highest_first))


def on_disk(version: int, fingerprint: str = "as made", still: bool = True, model: str = "half") -> VersionOnDisk:
    """A version directory as a source finds it."""
    return VersionOnDisk(version, Path(model, str(version)), fingerprint, still)
