"""The keys file."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.access.grants import Grant, Right
from serving.access.keys import Entry, KeyRing, digest, make_key, read_keys, write_keys
from serving.access.limits import Limit
from serving.errors import SettingsError

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
KEY = make_key("fraud")
GOOD: dict[str, Any] = {
    "name": "fraud",
    "sha256": digest(KEY).hex(),
    "models": ["fraud-*"],
    "may": ["predict"],
    "created": "2026-11-22T10:00:00+00:00",
}


def entry(name: str = "fraud", key: str = KEY, expires: datetime | None = None) -> Entry:
    return Entry("sha256", digest(key).hex(), Grant(name, ("*",), frozenset({Right.PREDICT})), NOW, expires)


def written(path: Path, *entries: Any) -> Path:
    file = path / "keys.json"
    file.write_text(json.dumps({"keys": entries}))
    file.chmod(0o600)
    return file


def test_a_key_bears_its_name_and_256_random_bits() -> None:
    first, second = make_key("fraud"), make_key("fraud")
    assert first.startswith("svk.fraud.")
    assert len(first.removeprefix("svk.fraud.")) == 43
    assert first != second


def test_who_holds_a_key_is_known_by_its_name() -> None:
    caller = KeyRing([entry()]).by_key(KEY, NOW)
    assert caller is not None
    assert caller.name == "key:fraud"
    assert [grant.name for grant in caller.grants] == ["fraud"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "svk.",
        "svk.fraud",
        "svk.fraud.",
        KEY[:-1],
        KEY + "A",
        KEY + " ",
        KEY.upper(),
        KEY.replace("fraud", "other"),
        make_key("fraud"),
        make_key("nobody"),
        digest(KEY).hex(),
        "é" * 100,
        "\udc80",
    ],
)
def test_any_other_text_is_nobodys_key(key: str) -> None:
    assert KeyRing([entry(), entry("other", make_key("other"))]).by_key(key, NOW) is None


def test_a_key_holds_until_it_expires() -> None:
    ring = KeyRing([entry(expires=NOW + timedelta(days=1))])
    assert ring.by_key(KEY, NOW + timedelta(hours=23))
    assert ring.by_key(KEY, NOW + timedelta(days=1)) is None


def test_certificates_and_roles_are_granted_what_their_entries_say_while_they_hold() -> None:
    def given(name: str, kind: Any, mark: str, expires: datetime | None = None) -> Entry:
        return Entry(kind, mark, Grant(name, ("*",), frozenset()), NOW, expires)

    ring = KeyRing([given("a", "role", "x"), given("b", "certificate", "x"), given("c", "role", "y", NOW)])
    assert [grant.name for grant in ring.grants("role", ["x", "y", "z"], NOW)] == ["a"]
    assert [grant.name for grant in ring.grants("certificate", ["x"], NOW)] == ["b"]
    assert ring.grants("role", [], NOW) == ()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    limit = Limit(0.5, 3, 2)
    entries = [
        entry(expires=NOW),
        Entry("role", "analyst", Grant("r", ("a", "b-*"), frozenset(Right), limit), NOW),
        Entry("certificate", "spiffe://x/y", Grant("c", (), frozenset()), NOW),
    ]
    file = tmp_path / "keys.json"
    file.write_text(write_keys(entries))
    file.chmod(0o600)
    assert list(read_keys(file).entries.values()) == entries
    assert KEY not in file.read_text()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o610])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, GOOD)
    file.chmod(mode)
    with pytest.raises(SettingsError, match=r"others than its owner can read or write it: run `chmod 600 "):
        read_keys(file)


def test_a_file_that_only_its_owner_may_read_is_fine(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    file.chmod(0o400)
    assert list(read_keys(file).entries) == ["fraud"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_keys(tmp_path / "keys.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "a name is up to 64 letters"),
        ({"name": "a.b"}, "a name is up to 64 letters"),
        ({"name": "a\nb"}, "a name is up to 64 letters"),
        ({"name": None}, "a name is up to 64 letters"),
        ({"sha256": ""}, "entry 'fraud': sha256 is 64 hexadecimal digits"),
        ({"sha256": "0" * 63}, "sha256 is 64 hexadecimal digits"),
        ({"sha256": None}, "sha256 is 64 hexadecimal digits"),
        ({"role": "x"}, "give one of sha256, certificate, role"),
        ({"models": "fraud-*"}, "models is a list of texts"),
        ({"models": [""]}, "models is a list of texts"),
        ({"may": ["predict", "everything"]}, "'everything' is no right; known are predict, metadata, metrics, admin"),
        ({"may": "predict"}, "may is a list of texts"),
        ({"created": "yesterday"}, "'yesterday' is no time such as"),
        ({"expires": 5}, "5 is no time such as"),
        ({"expire": "2026-11-22T10:00:00+00:00"}, "'expire' is not a field"),
        ({"requests_per_second": 0}, "requests_per_second is a number above 0"),
        ({"requests_per_second": True}, "requests_per_second is a number above 0"),
        ({"burst": 0.5}, "burst is a whole number from 1"),
        ({"concurrent": 0}, "concurrent is a whole number from 1"),
    ],
)
def test_an_entry_that_is_wrong_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_keys(written(tmp_path, GOOD | change))
    assert message in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("field", ["models", "may", "created"])
def test_a_field_that_is_missing_is_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(SettingsError, match=f"entry 'fraud': '{field}' is missing"):
        read_keys(written(tmp_path, {name: value for name, value in GOOD.items() if name != field}))


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="two entries are called 'fraud'"):
        read_keys(written(tmp_path, GOOD, GOOD))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": {}}', '{"key": []}', "[" * 100_000, '{"keys": [5]}', "\xff"])
def test_a_file_that_is_no_keys_file_is_refused(tmp_path: Path, text: str) -> None:
    file = written(tmp_path)
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError):
        read_keys(file)


def test_a_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    assert read_keys(written(tmp_path)).by_key(KEY, NOW) is None
