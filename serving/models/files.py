"""The files of a version: which there are, that none lies outside the model root, and whether they stay as they were.

- A link may lead to another place below the root, as Kubernetes mounts a ConfigMap or a Secret: its entries are links
  into a directory `..data`. One that leads out of the root, in a circle or nowhere is an error.
- Names that begin with `..` are no files of the model for the same reason.
- Only regular files and directories are allowed: to open a pipe would wait for ever.

No TensorFlow here.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import FailedPrecondition

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of content and of anything, in nanoseconds."""


@dataclass(frozen=True)
class VersionFiles:
    """The files and directories below `directory` by their relative names, and how each looked."""

    directory: Path
    files: Mapping[str, Stamp]
    directories: Mapping[str, Stamp]

    @property
    def total_bytes(self) -> int:
        return sum(size for _, _, size, _, _ in self.files.values())

    def check_unchanged(self, root: Path) -> None:
        """Raise FailedPrecondition, naming a file, unless everything looks as it did."""
        now = look(self.directory, root)
        for before, after in ((self.files, now.files), (self.directories, now.directories)):
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name):
                    raise FailedPrecondition(f"{name} changed while the model was being loaded")


def look(directory: Path, root: Path) -> VersionFiles:
    """Look at everything below a version's directory; FailedPrecondition where a link or file is not allowed."""
    files: dict[str, Stamp] = {}
    directories: dict[str, Stamp] = {}
    real_root = root.resolve()
    if not directory.resolve().is_relative_to(real_root):
        raise FailedPrecondition("the version's directory is a link that leads out of the model root")
    for name, status in _walk(directory, "", real_root, (directory.resolve(),)):
        kind = directories if stat.S_ISDIR(status.st_mode) else files
        kind[name] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return VersionFiles(directory, files, directories)


def _walk(directory: Path, prefix: str, root: Path, inside: tuple[Path, ...]) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a directory; `inside` are the real directories on the way to it."""
    yield prefix or ".", directory.stat()
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(".."):
            continue
        name = prefix + entry.name
        real = _followed(entry, name, root) if entry.is_symlink() else entry
        status = real.stat()
        if stat.S_ISDIR(status.st_mode):
            if real in inside:
                raise FailedPrecondition(f"{name} is a link that leads in a circle")
            yield from _walk(real, name + "/", root, (*inside, real.resolve()))
        elif stat.S_ISREG(status.st_mode):
            yield name, status
        else:
            raise FailedPrecondition(f"{name} is neither a file nor a directory")


def _followed(link: Path, name: str, root: Path) -> Path:
    try:
        real = link.resolve(strict=True)
    except (OSError, RuntimeError):
        raise FailedPrecondition(f"{name} is a link that leads nowhere") from None
    if not real.is_relative_to(root):
        raise FailedPrecondition(f"{name} is a link that leads out of the model root")
    return real
