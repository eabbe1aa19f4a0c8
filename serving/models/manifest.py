"""`manifest.json`: the size and SHA-256 of every file of a version, so that a damaged or altered one is not loaded.

    {"files": {"saved_model.pb": {"bytes": 62412, "sha256": "9f86d0..."}, "variables/variables.index": {...}}}

It lies in the version's directory and lists everything below it but itself. It is no proof against someone who can
write there, for they can write a new manifest: it finds what went wrong by accident, in storage or on the way.

No TensorFlow here.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import DataLoss, FailedPrecondition
from serving.models.files import VersionFiles, look

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """What a manifest says of one file."""

    bytes: int
    sha256: str


def write_manifest(directory: Path) -> Mapping[str, Entry]:
    """Write the manifest of a version's directory, in one step, and answer what is in it."""
    found = look(directory, directory)
    entries = {name: _entry(directory / name) for name in sorted(found.files) if name != MANIFEST}
    if not entries:
        raise FailedPrecondition(f"{directory} holds no files to list")
    found.check_unchanged(directory)
    document = {"files": {name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in entries.items()}}
    _replace(directory / MANIFEST, json.dumps(document, indent=2) + "\n")
    return entries


def check_manifest(files: VersionFiles, required: bool) -> bool:
    """Whether a version has a manifest, which then holds; DataLoss names the first file that is wrong."""
    if MANIFEST not in files.files:
        if required:
            raise FailedPrecondition(f"{MANIFEST} is missing, and SERVING_REQUIRE_MANIFEST demands one")
        return False
    if files.files[MANIFEST][2] > MAX_MANIFEST_BYTES:
        raise FailedPrecondition(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    entries = parse_manifest((files.directory / MANIFEST).read_bytes())
    present = files.files.keys() - {MANIFEST}
    for name in sorted(entries.keys() - present):
        raise DataLoss(f"{name} is in {MANIFEST}, but there is no such file")
    for name in sorted(present - entries.keys()):
        raise DataLoss(f"{name} is not in {MANIFEST}")
    for name in sorted(present):
        _check(files.directory / name, name, entries[name])
    return True


def parse_manifest(text: bytes) -> Mapping[str, Entry]:
    """Read the text of a manifest; DataLoss when it is none."""
    try:
        files = json.loads(text)["files"]
        entries = {name: Entry(entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataLoss(f"{MANIFEST} cannot be read: it is not as `manifest` writes it") from None
    return entries


def _check(file: Path, name: str, expected: Entry) -> None:
    found = _entry(file)
    if found.bytes != expected.bytes:
        raise DataLoss(f"{name} has {found.bytes} bytes, {MANIFEST} says {expected.bytes}")
    if found.sha256 != expected.sha256:
        raise DataLoss(f"{name} is not the file that {MANIFEST} lists: its SHA-256 is another")


def _entry(file: Path) -> Entry:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
        return Entry(opened.tell(), digest.hexdigest())


def _replace(file: Path, text: str) -> None:
    """Write a file so that nobody sees half of it."""
    handle, made = tempfile.mkstemp(prefix="..", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        Path(made).chmod(0o644)
        Path(made).replace(file)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
