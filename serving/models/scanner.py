"""How the version directories of models look from poll to poll, and when they are still.

- A version is a child directory named by ASCII decimal digits; leading zeros are allowed, 00000123 is 123. Values
  beyond int64 are ignored. Of `1` and `01`, the one that holds a saved model counts, then the shorter name.
- A version is still, and may be loaded, when its fingerprint has not changed since the poll before, or when nothing in
  it changed for a poll (at start, or when a finished directory was renamed in). A poll of 0 seconds means "look once":
  all is still.

No threads here: a scanner belongs to the one thread that polls.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.models.source import ModelConfig, ModelOnDisk, Settled, VersionOnDisk, nothing_settled

logger = logging.getLogger(__name__)

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
MAX_VERSION = 2**63 - 1  # versions travel as int64 in the protocol
UNVERSIONED = 1  # the number under which a model without version directories is served
MIN_QUIET_SECONDS = 1.0  # some file systems keep times in whole seconds


def parse_version(name: str) -> int | None:
    """Read a version number from a directory's name, or None where the name is no version."""
    if not (name.isascii() and name.isdigit()):
        return None
    version = int(name)
    return version if version <= MAX_VERSION else None


def holds_saved_model(directory: Path) -> bool:
    """Tell whether the directory itself holds a saved model file; one that may not be entered holds none."""
    try:
        return any((directory / name).is_file() for name in SAVED_MODEL_FILES)
    except PermissionError:
        return False


def version_directories(base_path: Path) -> dict[int, list[Path]]:
    """Find the directories of each version, highest version first, the directory to prefer first; may raise OSError."""
    found: dict[int, list[Path]] = {}
    for child in base_path.iterdir():
        version = parse_version(child.name)
        if version is not None and child.is_dir():
            found.setdefault(version, []).append(child)
    return {version: sorted(found[version], key=_preference) for version in sorted(found, reverse=True)}


def _preference(directory: Path) -> tuple[bool, int]:
    return not holds_saved_model(directory), len(directory.name)


class Notices:
    """Logs a warning at the first of the polls in a row that have it to say."""

    def __init__(self) -> None:
        self._before: set[str] = set()
        self._now: set[str] = set()

    def start_poll(self) -> None:
        """Forget what the last poll did not repeat, so that it is said again when it comes back."""
        self._before, self._now = self._now, set()

    def warn(self, message: str) -> None:
        """Log the message unless the poll before had it too."""
        if message not in self._before | self._now:
            logger.warning(message)
        self._now.add(message)


@dataclass(frozen=True)
class Tree:
    """The files below a directory: what they look like, and when one of them last changed (seconds, wall clock)."""

    fingerprint: str
    changed_at: float


Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class _Sighting:
    """How a version directory looked, and since when it has looked like this."""

    stamp: Stamp
    tree: Tree
    since: float


def read_tree(directory: Path) -> Tree:
    """Take the fingerprint of all files and directories below; OSError where a directory cannot be read.

    The newest change counts a descendant's ctime, since copying tools set mtime back; of the directory itself it
    counts mtime, since a rename touches its ctime and a directory that arrived by rename is complete.
    """
    own = directory.stat()
    entries = sorted(_walk(os.fsencode(directory), b""))
    digest = hashlib.sha256(repr([own.st_mtime_ns, *(entry[:3] for entry in entries)]).encode())
    return Tree(digest.hexdigest(), max([own.st_mtime, *(entry[3] for entry in entries)]))


def _walk(directory: bytes, prefix: bytes) -> Iterator[tuple[bytes, int, int, float]]:
    """Yield relative path, size, mtime_ns and ctime of all below; what vanishes meanwhile is left out."""
    with os.scandir(directory) as children:
        for child in children:
            try:
                yield from _walk_child(child, prefix + child.name)
            except (FileNotFoundError, NotADirectoryError):
                continue


def _walk_child(child: os.DirEntry[bytes], name: bytes) -> Iterator[tuple[bytes, int, int, float]]:
    try:
        status = child.stat()
    except OSError:  # gone, or a link that leads nowhere, to itself or where no one may look
        status = child.stat(follow_symlinks=False)
    yield name, status.st_size, status.st_mtime_ns, status.st_ctime
    if child.is_dir(follow_symlinks=False):  # not through links, which may lead in circles
        yield from _walk(child.path, name + b"/")


def _stamp(directory: Path) -> Stamp:
    """Look at the directory and its saved model file only: cheap, and it changes with a rename or a new export."""
    return (_look(directory.stat()), *(_look_at_file(directory / name) for name in SAVED_MODEL_FILES))


def _look_at_file(path: Path) -> tuple[int, int, int] | None:
    try:
        return _look(path.stat())
    except FileNotFoundError:
        return None


def _look(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


class Scanner:
    """Looks at the version directories of models and remembers, from poll to poll, how they looked.

    `now` is the wall clock in seconds, since it is compared with the times of files.
    """

    def __init__(self, poll_seconds: float, now: Callable[[], float] = time.time) -> None:
        self._poll_seconds = poll_seconds
        self._now = now
        self._models: dict[str, ModelOnDisk] = {}
        self._sightings: dict[Path, _Sighting] = {}
        self._notices = Notices()

    def scan(self, configs: Iterable[ModelConfig], settled: Settled = nothing_settled) -> dict[str, ModelOnDisk]:
        """Look at these models: one poll, so call it once per poll with all of them."""
        self._notices.start_poll()
        self._models = {config.name: self._scan_model(config, settled) for config in configs}
        present = {version.path for model in self._models.values() for version in model.versions}
        self._sightings = {path: sighting for path, sighting in self._sightings.items() if path in present}
        return dict(self._models)

    def _scan_model(self, config: ModelConfig, settled: Settled) -> ModelOnDisk:
        try:
            directories = self._directories(config)
        except OSError as error:
            self._notices.warn(f"model {config.name}: cannot list {config.base_path}: {error.strerror}")
            return ModelOnDisk(config, self._versions_before(config))
        versions = [self._scan_version(version, path, settled) for version, path in directories.items()]
        return ModelOnDisk(config, tuple(version for version in versions if version is not None))

    def _versions_before(self, config: ModelConfig) -> tuple[VersionOnDisk, ...]:
        before = self._models.get(config.name)
        return before.versions if before is not None and before.config.base_path == config.base_path else ()

    def _directories(self, config: ModelConfig) -> dict[int, Path]:
        if config.unversioned:
            return {UNVERSIONED: config.base_path}
        found = version_directories(config.base_path)
        for version, (chosen, *others) in found.items():
            for other in others:
                self._notices.warn(f"model {config.name} version {version}: {chosen} is used, {other} is ignored")
        return {version: chosen for version, (chosen, *_) in found.items()}

    def _scan_version(self, version: int, path: Path, settled: Settled) -> VersionOnDisk | None:
        try:
            sighting = self._sight(path, settled(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._notices.warn(f"version {version} cannot be read: {error.filename or path}: {error.strerror}")
            return self._version_before(version, path)
        self._sightings[path] = sighting
        return self._describe(version, path, sighting)

    def _version_before(self, version: int, path: Path) -> VersionOnDisk | None:
        sighting = self._sightings.get(path)
        return None if sighting is None else self._describe(version, path, sighting)

    def _describe(self, version: int, path: Path, sighting: _Sighting) -> VersionOnDisk:
        return VersionOnDisk(version, path, sighting.tree.fingerprint, self._is_still(sighting))

    def _sight(self, path: Path, settled: bool) -> _Sighting:
        before = self._sightings.get(path)
        stamp = _stamp(path)
        if settled and before is not None and before.stamp == stamp:
            return before
        tree = read_tree(path)
        same = before is not None and before.tree.fingerprint == tree.fingerprint
        return _Sighting(stamp, tree, before.since if before is not None and same else self._now())

    def _is_still(self, sighting: _Sighting) -> bool:
        if self._poll_seconds <= 0:
            return True
        now = self._now()
        # Half a poll, for timers are not exact, yet a poll asked for out of turn right after another proves nothing.
        # Without its sign, so that a clock set back does not hold up a version.
        unchanged = abs(now - sighting.since) >= self._poll_seconds / 2
        return unchanged or now - sighting.tree.changed_at > max(self._poll_seconds, MIN_QUIET_SECONDS)
