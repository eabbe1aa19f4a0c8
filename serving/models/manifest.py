"""`manifest.json`: the size and SHA-256 of every file of a version, so that a damaged or altered one is not loaded.

    {"files": {"saved_model.pb": {"bytes": 62412, "sha256": "9f86d0..."}, "variables/variables.index": {...}}}

It lies in the version's directory and lists everything below it but itself and its signature. Without that (signing.py)
it is no proof against someone who can write there, for they can write a new manifest: it finds what went wrong by
accident, in storage or on the way.

No TensorFlow here.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import DataLoss, FailedPrecondition
from serving.models.files import VersionFiles, look

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_SIGNATURE_BYTES = 1024

IsSigned = Callable[[bytes, bytes], bool]
"""Whether the second value is a signature of the first by somebody who may publish."""


@dataclass(frozen=True)
class Entry:
    """What a manifest says of one file."""

    bytes: int
    sha256: str


def write_manifest(directory: Path, sign: Callable[[bytes], bytes] | None = None) -> Mapping[str, Entry]:
    """Write the manifest of a version's directory, in one step, and answer what is in it.

    With `sign`, which makes a signature, that is written after it; without, one that was there before goes.
    """
    found = look(directory, directory)
    entries = {name: _entry(directory / name) for name in sorted(found.files) if name not in (MANIFEST, SIGNATURE)}
    if not entries:
        raise FailedPrecondition(f"{directory} holds no files to list")
    found.check_unchanged(directory)
    document = {"files": {name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in entries.items()}}
    text = (json.dumps(document, indent=2) + "\n").encode()
    signature = None if sign is None else sign(text)
    _replace(directory / MANIFEST, text)
    if signature is None:
        (directory / SIGNATURE).unlink(missing_ok=True)
    else:
        _replace(directory / SIGNATURE, signature)
    return entries


def check_manifest(files: VersionFiles, required: bool, is_signed: IsSigned | None = None) -> bool:
    """Whether a version has a manifest, which then holds; DataLoss names the first file that is wrong.

    With `is_signed` it must have one, and a signature of it.
    """
    if MANIFEST not in files.files:
        if required or is_signed:
            demanding = "SERVING_MANIFEST_KEYS_FILE" if is_signed else "SERVING_REQUIRE_MANIFEST"
            raise FailedPrecondition(f"{MANIFEST} is missing, and {demanding} demands one")
        return False
    text = _small(files, MANIFEST, MAX_MANIFEST_BYTES)
    if is_signed:
        _check_signature(files, text, is_signed)
    entries = parse_manifest(text)
    present = files.files.keys() - {MANIFEST, SIGNATURE}
    for name in sorted(entries.keys() - present):
        raise DataLoss(f"{name} is in {MANIFEST}, but there is no such file")
    for name in sorted(present - entries.keys()):
        raise DataLoss(f"{name} is not in {MANIFEST}")
    for name in sorted(present):
        _check(files, name, entries[name])
    return True


def parse_manifest(text: bytes) -> Mapping[str, Entry]:
    """Read the text of a manifest; DataLoss when it is none."""
    try:
        files = json.loads(text)["files"]
        entries = {name: Entry(entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataLoss(f"{MANIFEST} cannot be read: it is not as `manifest` writes it") from None
    return entries


def _check_signature(files: VersionFiles, text: bytes, is_signed: IsSigned) -> None:
    if SIGNATURE not in files.files:
        raise FailedPrecondition(f"{SIGNATURE} is missing, and SERVING_MANIFEST_KEYS_FILE demands one")
    if not is_signed(text, _small(files, SIGNATURE, MAX_SIGNATURE_BYTES)):
        raise DataLoss(f"{SIGNATURE} is no signature of {MANIFEST} by a key in SERVING_MANIFEST_KEYS_FILE")


def _small(files: VersionFiles, name: str, most: int) -> bytes:
    """What is in a file that may have so many bytes."""
    if files.files[name][2] > most:
        raise FailedPrecondition(f"{name} is larger than {most} bytes")
    return (files.directory / name).read_bytes()


def _check(files: VersionFiles, name: str, expected: Entry) -> None:
    size = files.files[name][2]
    if size != expected.bytes:
        raise DataLoss(f"{name} has {size} bytes, {MANIFEST} says {expected.bytes}")
    if _entry(files.directory / name).sha256 != expected.sha256:
        raise DataLoss(f"{name} is not the file that {MANIFEST} lists: its SHA-256 is another")


def _entry(file: Path) -> Entry:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
        return Entry(opened.tell(), digest.hexdigest())


def _replace(file: Path, content: bytes) -> None:
    """Write a file so that nobody sees half of it."""
    handle, made = tempfile.mkstemp(prefix="..", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
        Path(made).chmod(0o644)
        Path(made).replace(file)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
