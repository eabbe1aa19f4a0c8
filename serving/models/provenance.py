"""What must be true of a version's files before TensorFlow sees them, and still be true when it has loaded them.

- no link leads out of the model root (`files`)
- its manifest holds, if it has one or must have one (`manifest`), and is signed, if it must be (`signing`)
- it uses no operation that is not allowed, and no file but its own (`ops`, `file_ops`)

TensorFlow opens the files by their names, so what was checked and what is loaded are held together by what every file
and directory looks like before and after: device, inode, size, time of change. A version whose files changed meanwhile
is refused. This does not hold against someone who may write there and exchanges a directory above the version's for the
moment of loading, or can set the time of change: only the server's operator and those who publish models should. A
signature does not change that: it holds against who could write there before the version was looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from serving.errors import DataLoss, FailedPrecondition, NotFound
from serving.models.file_ops import misused_file_ops, wrong_assets
from serving.models.files import VersionFiles, look
from serving.models.manifest import IsSigned, check_manifest
from serving.models.ops import AllowList, Refusal, allow_list, refused_ops
from serving.models.scanner import SAVED_MODEL_FILES
from serving.settings import Settings

NO_SAVED_MODEL = "There is neither saved_model.pb nor saved_model.pbtxt in the version's directory"
SHOWN = 5
"""How many of the operations that are refused an error names."""


@dataclass(frozen=True)
class Inspected:
    """A version that may be loaded: its files as they were looked at."""

    files: VersionFiles
    root: Path
    has_manifest: bool

    def confirm(self) -> None:
        """Raise FailedPrecondition, naming a file, unless all files are still those that were inspected."""
        self.files.check_unchanged(self.root)


@dataclass(frozen=True)
class Inspector:
    """What the operator demands of a version."""

    allowed: AllowList
    require_manifest: bool
    model_dir: Path | None
    """The root of what lies below it; the root of any other version is the directory that it lies in."""
    is_signed: IsSigned | None = None
    """What tells the signature that its manifest must have, if it must have one."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Inspector":
        model_dir = settings.model_dir if settings.model_config_file is None else None
        inspector = cls(allow_list(settings.allow_ops), settings.require_manifest, model_dir)
        if settings.manifest_keys_file is None:
            return inspector
        from serving.models.signing import watched  # cryptography takes a quarter of a second

        return replace(inspector, is_signed=watched(settings.manifest_keys_file))

    def __call__(self, directory: Path) -> Inspected:
        """Inspect a version's directory; a ServingError names the file or the operation that is wrong."""
        is_below = self.model_dir is not None and directory.is_relative_to(self.model_dir)
        root = self.model_dir if self.model_dir is not None and is_below else directory.parent
        if not directory.is_dir():
            raise NotFound(NO_SAVED_MODEL)
        files = look(directory, root)
        has_manifest = check_manifest(files, self.require_manifest, self.is_signed)
        check_operations(read_saved_model(directory), self.allowed)
        return Inspected(files, root, has_manifest)


def read_saved_model(directory: Path) -> Any:
    """The SavedModel that TensorFlow would read in a directory."""
    for name, parse in zip(SAVED_MODEL_FILES, (_from_bytes, _from_text), strict=True):
        if (directory / name).is_file():
            try:
                return parse((directory / name).read_bytes())
            except (DecodeError, text_format.ParseError, ValueError):
                raise DataLoss(f"{name} is damaged: it cannot be read as a SavedModel") from None
    raise NotFound(NO_SAVED_MODEL)


def _from_bytes(content: bytes) -> Any:
    return saved_model_pb2.SavedModel.FromString(content)


def _from_text(content: bytes) -> Any:
    return text_format.Parse(content.decode(), saved_model_pb2.SavedModel())


def check_operations(saved_model: Any, allowed: AllowList) -> None:
    """Raise FailedPrecondition, naming operations and their places, when a model uses what it may not."""
    for name in (name for meta_graph in saved_model.meta_graphs for name in wrong_assets(meta_graph)):
        raise FailedPrecondition(f"the asset {name[:80]!r} is not below the directory of assets")
    refused = _first_of_each(refused_ops(saved_model.meta_graphs, allowed)) or _first_of_each(
        misused for meta_graph in saved_model.meta_graphs for misused in misused_file_ops(meta_graph, allowed.named)
    )
    if refused:
        raise FailedPrecondition(
            f"operations that are not allowed: {'; '.join(map(str, refused))}. "
            f"SERVING_ALLOW_OPS={','.join(refusal.op for refusal in refused)} would allow them"
        )


def _first_of_each(refusals: Iterable[Refusal]) -> list[Refusal]:
    """The first of the refusals for each of a few operations."""
    found: dict[str, Refusal] = {}
    for refusal in refusals:
        found.setdefault(refusal.op, refusal)
        if len(found) == SHOWN:
            break
    return list(found.values())
