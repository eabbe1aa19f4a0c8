"""`python -m serving keys`."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from serving.access.grants import Right
from serving.access.keys import digest, read_keys
from serving.access.limits import Limit
from serving.cli import main
from tests.server import ROOT


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "keys.json"
    monkeypatch.setenv("SERVING_KEYS_FILE", str(file))
    return file


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def made(*arguments: str) -> str:
    """The key that was made; nothing else is on standard output."""
    result = run("create", *arguments)
    assert result.exit_code == 0, result.output
    (key,) = result.stdout.splitlines()
    return key


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code != 0
    return result.stderr.splitlines()[-1]


def test_a_new_key_is_printed_once_and_only_its_digest_is_kept(file: Path) -> None:
    key = made("fraud", "--models", "fraud-*, x", "--may", "predict,metadata")
    assert key.startswith("svk.fraud.")
    (entry,) = json.loads(file.read_text())["keys"]
    assert entry["sha256"] == digest(key).hex()
    assert (entry["models"], entry["may"]) == (["fraud-*", "x"], ["predict", "metadata"])
    assert key.rpartition(".")[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_server_knows_a_new_key(file: Path) -> None:
    key = made("fraud", "--models", "*", "--may", "predict", "--expires", "90d")
    now = datetime.now(UTC)
    caller = read_keys(file).by_key(key, now)
    assert caller is not None
    assert caller.grants[0].may == {Right.PREDICT}
    assert read_keys(file).by_key(key, now + timedelta(days=91)) is None


def test_limits_are_kept(file: Path) -> None:
    made("a", "--models", "*", "--may", "predict", "--rate", "0.5", "--burst", "3", "--concurrent", "2")
    assert read_keys(file).entries["a"].grant.limit == Limit(0.5, 3, 2)


def test_certificates_and_roles_get_entries_without_keys(file: Path) -> None:
    for option, kind in (("--certificate", "certificate"), ("--role", "role")):
        result = run("create", kind, "--models", "*", "--may", "predict", option, "some one")
        assert (result.exit_code, result.output) == (0, "")
        entry = read_keys(file).entries[kind]
        assert (entry.kind, entry.mark) == (kind, "some one")


def test_metrics_need_no_models(file: Path) -> None:
    made("prometheus", "--may", "metrics")
    assert read_keys(file).entries["prometheus"].grant.models == ("*",)


def test_the_list_says_what_is_granted_and_shows_no_key(file: Path) -> None:
    key = made("fraud", "--models", "fraud-*", "--may", "metadata,predict", "--rate", "50", "--concurrent", "8")
    run("create", "old", "--models", "*", "--may", "metrics", "--role", "scraper")
    entries = json.loads(file.read_text())
    entries["keys"][1]["expires"] = "2020-01-01T00:00:00+00:00"
    file.write_text(json.dumps(entries))
    heading, first, second = run("list").stdout.splitlines()
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert heading.split() == ["NAME", "SHOWS", "MODELS", "MAY", "LIMITS", "CREATED", "EXPIRES"]
    assert first.split("  ")[0] == "fraud"
    assert ["fraud", "key", "fraud-*", "predict,metadata", "50/s,", "8", "at", "a", "time", today] == first.split()[:-1]
    assert second.endswith("2020-01-01 00:00 (expired)")
    assert key.rpartition(".")[2] not in run("list").stdout


def test_a_revoked_key_is_gone_and_the_others_stay(file: Path) -> None:
    keys = [made(name, "--models", "*", "--may", "predict") for name in ("a", "b")]
    assert run("revoke", "a").exit_code == 0
    ring, now = read_keys(file), datetime.now(UTC)
    assert ring.by_key(keys[0], now) is None
    assert ring.by_key(keys[1], now)


def test_the_owner_of_the_file_stays_its_owner(file: Path) -> None:
    made("a", "--models", "*", "--may", "predict")
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(file, 10001, 10001)
    made("b", "--models", "*", "--may", "predict")
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (10001, 10001, 0o600)


def test_a_link_to_the_file_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file.symlink_to(tmp_path / "real" / "keys.json")
    made("a", "--models", "*", "--may", "predict")
    assert file.is_symlink()
    assert list(read_keys(tmp_path / "real" / "keys.json").entries) == ["a"]


def test_entries_made_at_once_are_all_kept(file: Path) -> None:
    command = [sys.executable, "-m", "serving", "keys", "create", "--models", "*", "--may", "predict", "--role", "x"]
    makers = [subprocess.Popen([*command, f"k{number}"], cwd=ROOT) for number in range(4)]
    assert [maker.wait(60) for maker in makers] == [0] * 4
    assert sorted(read_keys(file).entries) == [f"k{number}" for number in range(4)]
    assert [other.name for other in file.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "a b", "--models", "*", "--may", "predict"], "a name is up to 64 letters, digits, - and _"),
        (["create", "a.b", "--models", "*", "--may", "predict"], "a name is up to 64 letters, digits, - and _"),
        (["create", "a", "--models", "*", "--may", "all"], "known are predict, metadata, metrics, admin"),
        (["create", "a", "--models", "*"], "Missing option '--may'"),
        (["create", "a", "--may", "predict"], "say which models with --models"),
        (["create", "a", "--models", "*", "--may", ""], "say which rights with --may"),
        (["create", "a", "--models", "*", "--may", "predict", "--expires", "soon"], "give a number of hours, days"),
        (["create", "a", "--models", "*", "--may", "predict", "--expires", "0d"], "give a number of hours, days"),
        (["create", "a", "--models", "*", "--may", "predict", "--expires", "999999w"], "give a number of hours, days"),
        (["create", "a", "--models", "*", "--may", "predict", "--role", "x", "--certificate", "y"], "not for both"),
        (["create", "taken", "--models", "*", "--may", "predict"], "has an entry 'taken'; revoke it first"),
        (["revoke", "nobody"], "has no entry 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said(file: Path, arguments: list[str], message: str) -> None:
    made("taken", "--models", "*", "--may", "predict")
    before = file.read_bytes()
    assert message in refused(*arguments)
    assert file.read_bytes() == before


def test_a_file_that_others_can_read_is_neither_read_nor_written(file: Path) -> None:
    made("a", "--models", "*", "--may", "predict")
    file.chmod(0o644)
    for arguments in (["list"], ["revoke", "a"], ["create", "b", "--models", "*", "--may", "predict"]):
        assert "others than its owner can read" in refused(*arguments)


def test_where_the_keys_are_must_be_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SERVING_KEYS_FILE", raising=False)
    assert refused("list") == "Error: say where the keys are: set SERVING_KEYS_FILE, or give --file"
    assert "cannot be opened" in refused("--file", "/nowhere/k", "create", "a", "--models", "*", "--may", "predict")
    assert "cannot be read" in refused("--file", str(tmp_path / "none"), "list")


def test_everything_is_one_document_when_asked(file: Path) -> None:
    created = json.loads(run("create", "fraud", "--models", "a,b", "--may", "predict", "--rate", "5", "--json").stdout)
    assert created["key"].startswith("svk.fraud.")
    (entry,) = json.loads(run("list", "--json").stdout)["entries"]
    assert entry == {name: value for name, value in created.items() if name != "key"}
    assert (entry["shows"], entry["models"], entry["may"]) == ("key", ["a", "b"], ["predict"])
    assert (entry["requests_per_second"], entry["expires"], entry["holds"]) == (5.0, None, True)
    assert json.loads(run("revoke", "fraud", "--json").stdout) == {"revoked": "fraud"}
    role = json.loads(run("create", "desk", "--models", "a", "--may", "predict", "--role", "clerk", "--json").stdout)
    assert (role["shows"], role["mark"], "key" in role) == ("role", "clerk", False)
