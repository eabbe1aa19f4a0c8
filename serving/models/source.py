"""What ought to be loaded: the models and versions that a source finds, and which of them a policy wants.

A source answers `poll()` with every model and every version directory that there is now. Leaving one out is the
order to unload it, so "I could not look" is never answered as "there is nothing": when a directory cannot be listed,
the last answer for it stays, and the log says so once. A version that vanishes while it is looked at is left out.

Which versions a policy wants is `wanted`, a pure function; sources do not apply it. No threads here: a source belongs
to the one thread that polls.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Latest:
    """Want the highest `count` versions that did not fail to load."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Want every version there is."""


@dataclass(frozen=True)
class Specific:
    """Want these versions and no other."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve; `unversioned` when `base_path` itself holds the saved model, served as version 1."""

    name: str
    base_path: Path
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    unversioned: bool = False


@dataclass(frozen=True)
class VersionOnDisk:
    """One version directory; a changed `fingerprint` means changed files, `still` that no one is writing them."""

    version: int
    path: Path
    fingerprint: str
    still: bool


@dataclass(frozen=True)
class ModelOnDisk:
    """A model and all its version directories, highest first, whatever its policy wants of them.

    Not among them are those in quarantine: they must not be run, for these reasons.
    """

    config: ModelConfig
    versions: tuple[VersionOnDisk, ...]
    quarantined: Mapping[int, str] = field(default_factory=dict)


Settled = Callable[[Path], bool]


def nothing_settled(_path: Path) -> bool:
    """Ask for every version directory to be read in full."""
    return False


class Source(Protocol):
    """Says which models there are, keyed by name.

    `settled` names the version directories that the caller has loaded. As long as the directory and its saved model
    file look the same, the files below are not read again; this keeps polling cheap.
    """

    def poll(self, settled: Settled = nothing_settled) -> Mapping[str, ModelOnDisk]: ...


def wanted(policy: Policy, versions: Sequence[int], failed: Collection[int]) -> tuple[int, ...]:
    """Choose the versions a policy wants of those on disk, highest first.

    A failed version makes room for the next lower one under `Latest`; it stays wanted where it was asked for.
    """
    highest_first = sorted(set(versions), reverse=True)
    match policy:
        case Latest(count):
            return tuple([version for version in highest_first if version not in failed][:count])
        case Specific(chosen):
            return tuple(version for version in highest_first if version in chosen)
        case All():
            return tuple(highest_first)
