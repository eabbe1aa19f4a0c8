"""The keys file: who is granted what, by a key, a client certificate or a role in a token.

    {"keys": [{"name": "fraud", "sha256": "9f86d0...", "models": ["fraud-*"], "may": ["predict", "metadata"],
               "created": "2026-11-22T10:00:00+00:00", "expires": "2027-02-20T10:00:00+00:00",
               "requests_per_second": 50, "burst": 100, "concurrent": 8},
              {"name": "batch", "certificate": "batch.example", "models": ["*"], "may": ["predict"], ...},
              {"name": "analysts", "role": "analyst", "models": ["*"], "may": ["metadata"], ...}]}

A key is `svk.NAME.SECRET`, the secret 256 random bits; the file holds the SHA-256 of the whole. That is enough for a
secret that nobody can guess, and fast.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from serving.access.grants import Caller, Grant, Right
from serving.access.limits import UNLIMITED, Limit
from serving.access.watched import read_private_file
from serving.errors import SettingsError

PREFIX = "svk."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SECRET_BYTES = 32

Kind = Literal["sha256", "certificate", "role"]
KINDS: tuple[Kind, ...] = ("sha256", "certificate", "role")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOBODY = (bytes(32), Caller("", ()))
_FIELDS = {"name", *KINDS, "models", "may", "created", "expires", "requests_per_second", "burst", "concurrent"}


@dataclass(frozen=True)
class Entry:
    """One entry of the keys file: what `mark`, of its kind, is granted, and until when."""

    kind: Kind
    mark: str
    grant: Grant
    created: datetime
    expires: datetime | None = None

    @property
    def name(self) -> str:
        return self.grant.name

    def holds(self, now: datetime) -> bool:
        return self.expires is None or now < self.expires


def make_key(name: str) -> str:
    """A new key that bears this name."""
    return f"{PREFIX}{name}.{secrets.token_urlsafe(SECRET_BYTES)}"


def digest(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


class KeyRing:
    """The entries of a keys file, by what a caller shows."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self._holders = {
            entry.name: (bytes.fromhex(entry.mark), Caller(f"key:{entry.name}", (entry.grant,)))
            for entry in self.entries.values()
            if entry.kind == "sha256"
        }

    def by_key(self, key: str, now: datetime) -> Caller | None:
        """The caller that holds a key; None where it is unknown or has expired."""
        name = key.removeprefix(PREFIX).partition(".")[0]
        expected, caller = self._holders.get(name, _NOBODY)
        is_right = hmac.compare_digest(digest(key), expected)
        return caller if is_right and self.entries[name].holds(now) else None

    def grants(self, kind: Kind, marks: Iterable[str], now: datetime) -> tuple[Grant, ...]:
        """What any of the names of a certificate, or of the roles of a token, is granted."""
        shown = set(marks)
        return tuple(e.grant for e in self.entries.values() if e.kind == kind and e.mark in shown and e.holds(now))


def read_keys(path: Path) -> KeyRing:
    """The keys in a file that only its owner may read; SettingsError in one line where it cannot be used."""
    text = read_private_file(path)
    try:
        entries = [_entry(fields) for fields in _list(json.loads(text))]
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: {_one_line(error)}") from None
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"{path}: two entries are called {twice!r}")
    return KeyRing(entries)


def write_keys(entries: Iterable[Entry]) -> str:
    """The text of a keys file."""
    return json.dumps({"keys": [_fields(entry) for entry in entries]}, indent=1) + "\n"


def _list(document: Any) -> list[Any]:
    if not isinstance(document, dict) or set(document) != {"keys"} or not isinstance(document["keys"], list):
        raise ValueError('expected {"keys": [...]}')
    return document["keys"]


def _entry(fields: Any) -> Entry:
    name = fields.get("name") if isinstance(fields, dict) else None
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"a name is up to 64 letters, digits, - and _, but an entry has {_shown(name)}")
    try:
        return _entry_of(name, fields)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else _one_line(error)
        raise ValueError(f"entry {name!r}: {reason}") from None


def _entry_of(name: str, fields: Mapping[str, Any]) -> Entry:
    unknown = set(fields) - _FIELDS
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not a field; known are {', '.join(sorted(_FIELDS))}")
    kinds = [kind for kind in KINDS if kind in fields]
    if len(kinds) != 1:
        raise ValueError(f"give one of {', '.join(KINDS)}")
    expires = fields.get("expires")
    return Entry(
        kinds[0],
        _mark(kinds[0], fields[kinds[0]]),
        Grant(name, _texts(fields, "models"), frozenset(_rights(fields)), _limit(fields)),
        _time(fields["created"]),
        None if expires is None else _time(expires),
    )


def _mark(kind: Kind, value: Any) -> str:
    if not isinstance(value, str) or not value or (kind == "sha256" and not _SHA256.fullmatch(value)):
        raise ValueError(f"{kind} is {'64 hexadecimal digits' if kind == 'sha256' else 'some text'}")
    return value


def _texts(fields: Mapping[str, Any], field: str) -> tuple[str, ...]:
    values = fields[field]
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        raise ValueError(f"{field} is a list of texts")
    return tuple(values)


def _rights(fields: Mapping[str, Any]) -> Iterable[Right]:
    for value in _texts(fields, "may"):
        if value not in set(Right):
            raise ValueError(f"{_shown(value)} is no right; known are {', '.join(Right)}")
        yield Right(value)


def _limit(fields: Mapping[str, Any]) -> Limit:
    rate, burst, concurrent = (fields.get(field) for field in ("requests_per_second", "burst", "concurrent"))
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 1e-6 <= rate <= 1e6):
        raise ValueError("requests_per_second is a number above 0, at most a million")
    for field, value in (("burst", burst), ("concurrent", concurrent)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000):
            raise ValueError(f"{field} is a whole number from 1 to a million")
    return UNLIMITED if rate is None and concurrent is None else Limit(rate, burst, concurrent)


def _time(text: Any) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"{_shown(text)} is no time such as 2026-11-22T10:00:00+00:00") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _fields(entry: Entry) -> dict[str, Any]:
    grant, limit = entry.grant, entry.grant.limit
    fields = {
        "name": entry.name,
        entry.kind: entry.mark,
        "models": list(grant.models),
        "may": [right for right in Right if right in grant.may],
        "created": entry.created.isoformat(),
        "expires": None if entry.expires is None else entry.expires.isoformat(),
        "requests_per_second": limit.requests_per_second,
        "burst": limit.burst,
        "concurrent": limit.concurrent,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
