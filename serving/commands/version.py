"""Which version a path on the command line means."""

from dataclasses import dataclass
from pathlib import Path

from serving.errors import NotFound
from serving.models.scanner import UNVERSIONED, holds_saved_model, parse_version, version_directories


@dataclass(frozen=True)
class VersionPath:
    """A version's directory, with the model's name and the number that the server would give it."""

    model: str
    version: int
    path: Path


def find_version(path: Path) -> VersionPath:
    """The version that lies at a path, or the highest one below it; NotFound when there is none."""
    if holds_saved_model(path):
        version = parse_version(path.name)
        name = path.resolve().parent.name if version is not None else path.resolve().name
        return VersionPath(name, UNVERSIONED if version is None else version, path)
    if not path.is_dir():
        raise NotFound(f"{path} is not a directory")
    for number, (chosen, *_) in version_directories(path).items():
        if holds_saved_model(chosen):
            return VersionPath(path.resolve().name, number, chosen)
    raise NotFound(f"{path} holds no saved_model.pb, nor a version directory that does")
