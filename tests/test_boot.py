"""What is settled before the workers start."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serving.access.limits import Limit, Limiter
from serving.boot import (
    METRICS_VARIABLE,
    OWNER_VARIABLE,
    check_address,
    check_exposure,
    check_request_memory,
    forget_worker,
    forgive,
    listening_hosts,
    memory_line,
    note_reach,
    own_runtime_dir,
    prepare,
    remove_runtime_dir,
    wanted_memory,
    worker_index,
)
from serving.errors import SettingsError
from serving.models.control import OrderFile, Quarantined
from serving.settings import Settings

ROOT = Path(__file__).parent.parent


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1" / "saved_model.pb").write_bytes(b"12345")
    return {"SERVING_MODEL_DIR": str(tmp_path / "models"), "SERVING_RUNTIME_DIR": str(tmp_path / "run")}


def test_what_was_chosen_is_noted_for_the_workers(environ: dict[str, str]) -> None:
    settings = prepare(environ)
    assert settings.workers >= 1
    assert settings.threads >= 1
    assert Settings.from_environ(environ) == settings
    assert environ[METRICS_VARIABLE] == str(settings.metrics_dir)


def test_what_an_earlier_run_left_is_emptied(environ: dict[str, str], tmp_path: Path) -> None:
    stale = tmp_path / "run" / "metrics" / "counter_1.db"
    stale.parent.mkdir(parents=True)
    stale.touch()
    prepare(environ)
    assert list(stale.parent.iterdir()) == []


def test_a_second_time_nothing_changes(environ: dict[str, str], tmp_path: Path) -> None:
    first = prepare(environ)
    (tmp_path / "run" / "metrics" / "counter_1.db").touch()
    assert prepare(environ) == first
    assert (tmp_path / "run" / "metrics" / "counter_1.db").exists()


def test_batching_parameters_that_cannot_be_used_are_found_before_the_start(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 0 }")
    with pytest.raises(SettingsError, match=rf"^{file}: max_batch_size is 0, expected 1 or more$"):
        prepare(environ | {"SERVING_BATCHING_PARAMETERS_FILE": str(file)})


def test_keys_for_manifests_that_cannot_be_used_are_found_before_the_start(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"none\.pem: cannot be read: No such file"):
        prepare(environ | {"SERVING_MANIFEST_KEYS_FILE": str(tmp_path / "none.pem")})


@pytest.mark.parametrize("name", ["SERVING_MAX_REQUEST_LINE_BYTES", "SERVING_MAX_HEADER_BYTES"])
def test_a_part_of_the_head_may_not_be_larger_than_the_whole(environ: dict[str, str], name: str) -> None:
    prepare(environ | {name: "65536"})
    with pytest.raises(
        SettingsError, match=f"{name}=65537 is more than the whole head .* SERVING_MAX_HEAD_BYTES=65536"
    ):
        prepare(environ | {name: "65537"})


def test_only_versions_that_will_be_loaded_are_measured(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models" / "m" / "2").mkdir()
    (tmp_path / "models" / "m" / "2" / "saved_model.pb").write_bytes(b"1234567")
    assert wanted_memory(Settings.from_environ(environ)) == 7 * 7
    assert wanted_memory(Settings.from_environ(environ | {"SERVING_FREEZE_MAX_BYTES": "6"})) == 7 * 3


def test_a_missing_model_directory_stops_the_start(environ: dict[str, str]) -> None:
    environ["SERVING_MODEL_DIR"] = "/nowhere/models"
    with pytest.raises(SettingsError, match="/nowhere/models does not exist"):
        prepare(environ)


def test_a_config_file_that_does_not_parse_stops_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("model_config_list {")
    environ["SERVING_MODEL_CONFIG_FILE"] = str(tmp_path / "models.config")
    with pytest.raises(SettingsError, match=r"models\.config: line"):
        prepare(environ)


def test_a_taken_port_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="set PORT"):
        check_address("127.0.0.1", taken.getsockname()[1])


def test_a_host_that_has_no_address_is_an_error_that_says_so() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on nowhere\.invalid port 5000 \((?!Unknown error)"):
        check_address("nowhere.invalid", 5000)


@pytest.fixture
def made(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a directory for the workers is made, since none is given."""
    del environ["SERVING_RUNTIME_DIR"]
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_a_directory_that_was_made_is_removed_by_the_process_that_made_it(environ: dict[str, str], made: Path) -> None:
    prepare(environ)
    prepare(environ)  # as at SIGHUP
    assert len(list(made.iterdir())) == 1
    remove_runtime_dir(environ)
    remove_runtime_dir(environ)
    assert list(made.iterdir()) == []


def test_a_directory_that_another_process_made_is_left_to_it(environ: dict[str, str], made: Path) -> None:
    prepare(environ)
    environ[OWNER_VARIABLE] = str(os.getppid())
    remove_runtime_dir(environ)
    assert len(list(made.iterdir())) == 1
    own_runtime_dir(environ)  # as where gunicorn has put itself in the background since
    remove_runtime_dir(environ)
    assert list(made.iterdir()) == []


def test_a_new_parent_beside_the_old_one_makes_a_directory_of_its_own(environ: dict[str, str], made: Path) -> None:
    old = prepare(environ)
    environ[OWNER_VARIABLE] = str(os.getppid())
    new = prepare(environ)
    assert new.runtime_dir != old.runtime_dir
    remove_runtime_dir(environ)
    assert list(made.iterdir()) == [old.runtime_dir]


def test_a_directory_that_was_given_is_not_removed(environ: dict[str, str], tmp_path: Path) -> None:
    prepare(environ)
    own_runtime_dir(environ)
    remove_runtime_dir(environ)
    assert (tmp_path / "run").is_dir()


def test_a_refused_start_makes_no_directory(environ: dict[str, str], made: Path) -> None:
    environ["SERVING_MODEL_DIR"] = "/nowhere/models"
    with pytest.raises(SettingsError):
        prepare(environ)
    assert list(made.iterdir()) == []


def test_a_directory_that_cannot_be_used_stops_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(SettingsError, match=r"SERVING_RUNTIME_DIR='.*run' cannot be used: Not a directory"):
        prepare(environ)


def test_where_no_directory_can_be_made_the_start_stops(
    environ: dict[str, str], made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(made / "nowhere"))
    with pytest.raises(SettingsError, match=r"no directory can be made .* \(No such file or directory\)"):
        prepare(environ)


def test_what_a_dead_worker_said_is_removed(environ: dict[str, str]) -> None:
    settings = prepare(environ)
    assert settings.workers_dir is not None
    for name in ("12.json", "12.new", "123.json"):
        (settings.workers_dir / name).touch()
    forget_worker(settings, 12, 0)
    forget_worker(settings, 12, 0)
    assert [file.name for file in settings.workers_dir.iterdir()] == ["123.json"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_on_loopback_nobody_need_be_asked(host: str) -> None:
    check_exposure(Settings(), [host])


PUBLIC = ["0.0.0.0", "::", "10.0.0.1", "192.168.1.5", "example.com", "::ffff:0.0.0.0", "", "127.0.0.1.example.com"]


@pytest.mark.parametrize("host", PUBLIC)
def test_on_a_public_address_somebody_must_be_asked_or_anybody_welcome(host: str) -> None:
    with pytest.raises(SettingsError, match=r"would let anybody in: set SERVING_KEYS_FILE .*SERVING_ALLOW_ANONYMOUS"):
        check_exposure(Settings(), ["127.0.0.1", host])
    check_exposure(Settings(keys_file=Path("keys.json")), [host])
    check_exposure(Settings(tls_client_ca_file=Path("ca.pem")), [host])
    check_exposure(Settings(allow_anonymous=True), [host])


def test_the_start_stops_where_anybody_would_be_let_in(environ: dict[str, str]) -> None:
    environ["HOST"] = "0.0.0.0"
    with pytest.raises(SettingsError, match=r"listening on 0\.0\.0\.0 would let anybody in"):
        prepare(environ)
    assert prepare(environ | {"SERVING_ALLOW_ANONYMOUS": "true"}).host == "0.0.0.0"


def test_the_start_stops_for_keys_that_cannot_be_used(environ: dict[str, str], tmp_path: Path) -> None:
    environ["SERVING_KEYS_FILE"] = str(tmp_path / "keys.json")
    with pytest.raises(SettingsError, match=r"keys\.json: cannot be read"):
        prepare(environ)
    (tmp_path / "keys.json").write_text('{"keys": []}')
    with pytest.raises(SettingsError, match="others than its owner"):
        prepare(environ)
    (tmp_path / "keys.json").chmod(0o600)
    assert prepare(environ).keys_file == tmp_path / "keys.json"


def test_hosts_are_those_of_addresses_but_sockets_that_were_handed_over_come_first() -> None:
    addresses: list[object] = [("10.0.0.1", 80), "/run/server.sock", ("::1", 80, 0, 0)]
    assert listening_hosts(addresses, {}) == ["10.0.0.1", "::1"]
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        assert listening_hosts([("10.0.0.1", 80), given.fileno()], {}) == ["127.0.0.1"]
        assert listening_hosts(addresses, {"GUNICORN_FD": str(given.fileno())}) == ["127.0.0.1"]


def test_what_a_dead_worker_had_in_hand_is_given_back(environ: dict[str, str]) -> None:
    settings, one = prepare(environ), Limit(concurrent=1)
    dead, living = (Limiter(settings.limits_dir, number, 2) for number in range(2))
    assert dead.take("key", one) == 0
    assert living.take("key", one) > 0
    forget_worker(settings, 12, 0)
    assert living.take("key", one) == 0


def test_what_cannot_be_written_or_removed_does_not_end_the_parent(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = prepare(environ)
    assert settings.workers_dir is not None
    assert settings.runs_dir is not None
    assert settings.limits_dir is not None
    for blocked in (settings.workers_dir / "12.json", settings.runs_dir / "12.crash", settings.limits_dir / "key"):
        blocked.mkdir(parents=True)  # where a file ought to be
    forget_worker(settings, 12, 0)
    for what in ("what worker 12 had in hand", "why worker 12 ended", "what worker 12 had told the others"):
        assert f"{what}: this cannot be seen to now: [Errno" in caplog.text


def test_a_quarantine_that_cannot_be_ended_does_not_end_the_parent(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = prepare(environ)
    OrderFile(settings.control_dir).quarantine(Quarantined("half", 1, "as made", "it ends workers"))
    assert settings.control_dir is not None
    (settings.control_dir / "orders.new").mkdir()  # where a file has to be written
    forgive(settings)
    assert "what is in quarantine: this cannot be seen to now: [Errno" in caplog.text


def test_a_worker_gets_the_lowest_free_number() -> None:
    assert [worker_index(taken) for taken in (set(), {0}, {0, 2}, {1, 2})] == [0, 1, 1, 0]


@pytest.mark.parametrize(("memory", "starts"), [(4999, False), (5000, True), (5001, True)])
def test_the_memory_for_requests_must_hold_a_body_of_the_largest_size(memory: int, starts: bool) -> None:
    settings = Settings(max_body_bytes=1000, request_memory_bytes=memory)
    if starts:
        check_request_memory(settings)
    else:
        with pytest.raises(
            SettingsError, match=r"SERVING_REQUEST_MEMORY_BYTES=4999 is too little .* give 5000 or more"
        ):
            check_request_memory(settings)


def test_the_memory_of_a_worker_is_told() -> None:
    assert memory_line(Settings(workers=2)).startswith("each of 2 workers takes up to 640 MiB for requests")


@pytest.mark.parametrize(
    ("hosts", "noted"),
    [(["127.0.0.1", "::1"], None), (["127.0.0.1", "0.0.0.0"], "*"), ([], "*"), (["10.0.0.7"], "*")],
)
def test_workers_answer_to_any_name_where_not_only_this_machine_reaches_them(
    hosts: list[str], noted: str | None
) -> None:
    environ: dict[str, str] = {}
    note_reach(environ, hosts)
    assert environ.get("SERVING_ALLOWED_HOSTS") == noted
    environ = {"SERVING_ALLOWED_HOSTS": "models.example"}
    note_reach(environ, hosts)
    assert environ == {"SERVING_ALLOWED_HOSTS": "models.example"}


def test_garbage_is_looked_for_once_all_is_imported_and_not_among_that(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import gc; print(gc.isenabled())")
    code = (
        "import gc, logging, runpy, sys, types\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "conf = runpy.run_path('gunicorn.conf.py')\n"
        "conf['when_ready'](types.SimpleNamespace(log=logging.getLogger()))\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 1000)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environ, capture_output=True, text=True
    )
    assert ran.stdout == "False\nTrue True\n", ran.stderr
