"""Keys files for tests."""

from datetime import UTC, datetime
from pathlib import Path

from serving.access.grants import Grant, Right
from serving.access.keys import Entry, Kind, digest, make_key, write_keys
from serving.access.limits import UNLIMITED, Limit

WHEN = datetime(2026, 11, 22, tzinfo=UTC)


def entry(name: str, kind: Kind, mark: str, models: str, may: str, limit: Limit = UNLIMITED) -> Entry:
    rights = frozenset(Right(right) for right in may.split(","))
    return Entry(kind, mark, Grant(name, tuple(models.split(",")), rights, limit), WHEN)


def key(name: str, models: str = "*", may: str = "predict,metadata", limit: Limit = UNLIMITED) -> tuple[str, Entry]:
    """A key, and its entry."""
    made = make_key(name)
    return made, entry(name, "sha256", digest(made).hex(), models, may, limit)


def certificate(name: str, holder: str, models: str = "*", may: str = "predict,metadata") -> Entry:
    return entry(name, "certificate", holder, models, may)


def role(name: str, role: str, models: str = "*", may: str = "predict,metadata") -> Entry:
    return entry(name, "role", role, models, may)


def write(path: Path, *entries: Entry) -> Path:
    """A keys file, put in place whole, as `keys create` does."""
    draft = path.with_name("draft")
    draft.touch(0o600)
    draft.write_text(write_keys(entries))
    draft.replace(path)
    return path
