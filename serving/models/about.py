"""What people are told of a loaded version beside its signatures.

Its size, the labels of its classes, a request, and how pictures become its input.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.inputs.image_spec import ImageInput
from serving.tensors.spec import Array

Requests = Mapping[str, Mapping[str, Array]]
"""A request by the name of its signature: a tensor for each input."""

LABEL_FILES = (Path("assets") / "labels.txt", Path("assets.extra") / "labels.txt")
"""Where a model may say what its classes are called: one a line, in their order."""
MAX_LABEL_BYTES = 1024 * 1024


@dataclass(frozen=True, eq=False)
class About:
    """Facts of one version on disk. `samples` holds a request that it was exported with, by signature."""

    size_bytes: int = 0
    labels: tuple[str, ...] = ()
    samples: Requests = field(default_factory=dict)
    image_input: ImageInput | None = None


NOTHING_KNOWN = About()


def describe(path: Path, samples: Requests, image_input: ImageInput | None = None) -> About:
    """Read the facts of the version at `path`."""
    return About(_size(path), _labels(path), samples, image_input)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _labels(path: Path) -> tuple[str, ...]:
    for file in (path / name for name in LABEL_FILES):
        if file.is_file() and file.stat().st_size <= MAX_LABEL_BYTES:
            return tuple(file.read_text(encoding="utf-8", errors="replace").splitlines())
    return ()


def class_labels(about: About, classes: int | None) -> tuple[str, ...]:
    """The names of so many classes; none where the version has not exactly so many."""
    return about.labels if len(about.labels) == classes else ()
