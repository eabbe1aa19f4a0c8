"""Models whose files arrive slowly or damaged, and disks that are full or not to be written to, on a running server."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import saved_models
from tests.conftest import Held
from tests.server import Load, Server, gunicorn, serving, wait_for
from tests.test_server import publish, times_version, version_is

pytestmark = pytest.mark.faults

ROUNDS = 100
PAUSES = (0.0, 0.0, 0.02, 0.3)
"""Seconds between the pieces of a copy; the longest is longer than a poll."""


def copy_in_pieces(source: Path, target: Path, chance: random.Random, pause: Callable[[float], object]) -> None:
    """Copy a version the way slow tools do: file after file in any order, each in two pieces, with pauses."""
    files = [file for file in source.rglob("*") if file.is_file()]
    for file in chance.sample(files, len(files)):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        with copy.open("wb", buffering=0) as opened:
            for piece in (content[: len(content) // 2], content[len(content) // 2 :]):
                opened.write(piece)
                pause(chance.choice(PAUSES))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    publish(tmp_path / "models" / "times", 1, 1.0)
    settings = {"SERVING_MODEL_DIR": tmp_path / "models", "SERVING_MODEL_POLL_SECONDS": 0.2, "WEB_CONCURRENCY": 2}
    with serving(tmp_path / "log", SERVING_ACCESS_LOG="false", **settings) as server:
        yield server


def test_a_version_that_is_copied_in_file_by_file_is_never_served_half(
    server: Server, tmp_path: Path, held: Held
) -> None:
    model, chance = tmp_path / "models" / "times", random.Random(0)
    with Load(server, "times", clients=2, check=times_version) as load:
        for version in range(2, ROUNDS + 2):
            saved_models.scale(tmp_path / "made", float(version))
            copy_in_pieces(tmp_path / "made", model / str(version), chance, load.stopped)
            wait_for(lambda v=version: version_is(server, "times", v, "AVAILABLE"), f"version {version}")
            shutil.rmtree(model / str(version - 1))
            shutil.rmtree(tmp_path / "made")
    begun_early = server.log.read_text().count("cannot be loaded")
    held(
        f"a version copied in file by file, {ROUNDS} rounds",
        "never served half; no failure on the old one",
        f"{len(load.wrong)} of {load.answered} answers wrong; {begun_early} halves were tried and refused",
    )
    assert load.wrong == []
    assert load.answered > ROUNDS


DAMAGES: dict[str, Callable[[Path], object]] = {
    "saved_model.pb is cut short": lambda path: saved_models.truncate(path / "saved_model.pb"),
    "saved_model.pb is garbled": lambda path: saved_models.garble(path / "saved_model.pb"),
    "saved_model.pb is empty": lambda path: (path / "saved_model.pb").write_bytes(b""),
    "variables are cut short": lambda path: saved_models.truncate(next((path / "variables").glob("*.data*"))),
    "variables are garbled": lambda path: saved_models.garble(next((path / "variables").glob("*.data*"))),
    "the index of variables is missing": lambda path: next((path / "variables").glob("*.index")).unlink(),
    "all variables are missing": lambda path: shutil.rmtree(path / "variables"),
}


def test_damaged_versions_say_why_while_the_old_one_serves_and_load_once_mended(
    server: Server, tmp_path: Path, held: Held
) -> None:
    reasons = []
    with Load(server, "times", clients=2, check=times_version) as load:
        for version, damage in enumerate(DAMAGES.values(), start=2):
            saved_models.scale(tmp_path / "made", float(version))
            shutil.copytree(tmp_path / "made", tmp_path / "models" / ".draft")
            damage(tmp_path / "models" / ".draft")
            (tmp_path / "models" / ".draft").rename(tmp_path / "models" / "times" / str(version))
            wait_for(lambda v=version: version_is(server, "times", v, "END"), f"version {version} has failed")
            answer = server.ask("GET", f"/v1/models/times/versions/{version}")
            reasons.append(answer.json["model_version_status"][0]["status"])
            assert server.ask("POST", "/v1/models/times:predict", {"instances": [1.0]}).json["predictions"] == [
                version - 1.0
            ]
            shutil.copytree(tmp_path / "made", tmp_path / "models" / "times" / str(version), dirs_exist_ok=True)
            wait_for(lambda v=version: version_is(server, "times", v, "AVAILABLE"), f"version {version} was mended")
            shutil.rmtree(tmp_path / "made")
    told = [reason for reason in reasons if reason["error_code"] != "OK" and reason["error_message"]]
    held(
        "corrupt, missing, truncated model files",
        "the old version keeps serving; END with the reason; loads once mended",
        f"{len(told)} of {len(DAMAGES)} damages told; {len(load.wrong)} of {load.answered} answers wrong",
    )
    assert len(told) == len(DAMAGES)
    assert load.wrong == []


def test_a_version_that_fails_is_tried_again_less_and_less_often(server: Server, tmp_path: Path, held: Held) -> None:
    saved_models.scale(tmp_path / "models" / ".draft", 2.0)
    saved_models.truncate(tmp_path / "models" / ".draft" / "saved_model.pb")
    (tmp_path / "models" / ".draft").rename(tmp_path / "models" / "times" / "2")

    def waits() -> list[str]:
        lines = [line for line in server.log.read_text().splitlines() if "next try in" in line]
        return [line.partition("next try in ")[2].partition(" s")[0] for line in lines]

    wait_for(lambda: waits().count("8") == 2, "both workers have tried four times", 60)
    held("a version that goes on failing", "retries with backoff", f"waits of {', '.join(sorted(set(waits())))} s")
    assert sorted(waits(), key=int)[:8] == ["1", "1", "2", "2", "4", "4", "8", "8"]


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own for a folder; skipped where none may be mounted."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes=1000", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    with mounted(tmp_path / "disk", "16m") as folder:
        yield folder


def fill(disk: Path) -> None:
    """Write until there is no room for a single byte."""
    with suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        for size in (2**20, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    with pytest.raises(OSError, match="No space left"):
        (disk / "more").write_bytes(bytes(4096))


def kill_one(server: Server) -> None:
    os.kill(min(server.workers()), signal.SIGKILL)


def crash_one(server: Server) -> None:
    with pytest.raises(OSError, match=r"closed|reset"):
        server.ask("POST", "/v1/models/killer:predict", {"instances": [13]})


def end_worker(server: Server, end: Callable[[Server], None]) -> bool:
    """End a worker; whether another one takes its place, and both serve."""
    before = set(server.workers())
    end(server)
    wait_for(lambda: len(server.workers()) == 2 and before != set(server.workers()), "a new worker", 30)
    wait_for(server.is_ready, "it is ready", 30)
    asked = (server.ask("POST", "/v1/models/times:predict", {"instances": [1.0]}) for _ in range(10))
    return {answer.status for answer in asked} == {200}


def test_a_full_disk_stops_nobody(small_disk: Path, tmp_path: Path, held: Held) -> None:
    for version in (1, 2):
        saved_models.scale(tmp_path / "models" / "times" / str(version), float(version))
    saved_models.killer(tmp_path / "models" / "killer" / "1")
    settings = {
        "SERVING_MODEL_DIR": tmp_path / "models",
        "SERVING_MODEL_POLL_SECONDS": 0.2,
        "SERVING_RUNTIME_DIR": small_disk / "run",
        "SERVING_AUDIT_FILE": small_disk / "audit",
        "TMPDIR": small_disk,
        "WEB_CONCURRENCY": 2,
    }
    with serving(small_disk / "log", **settings) as server:
        before = set(server.workers())
        with Load(server, "times", clients=2, check=times_version) as load:
            fill(small_disk)
            statuses = [
                server.ask("GET", path).status for path in ("/metrics", "/readyz", "/v1/models", "/healthz") * 10
            ]
            for name in ("classify", "regress"):  # which metrics and statistics have not counted yet
                server.ask("POST", f"/v1/models/times:{name}", {"examples": [{"x": 1.0}]})
            load.stopped(5)
        survived = before & set(server.workers())
        ended = []
        for end in (kill_one, crash_one, crash_one, crash_one):
            ended.append(end_worker(server, end))
            fill(small_disk)  # what the worker has left room for
        (small_disk / "filler").unlink()
        publish(tmp_path / "models" / "times", 3, 3.0)
        wait_for(lambda: version_is(server, "times", 3, "AVAILABLE"), "a version is loaded when there is room again")
    held(
        "a full disk",
        "serves",
        f"{len(load.wrong)} of {load.answered} answers wrong, {statuses.count(200)} of {len(statuses)} other requests "
        f"answered, {len(survived)} of 2 workers live on; of workers that end {ended.count(True)} of {len(ended)} are "
        "replaced",
    )
    assert load.wrong == []
    assert set(statuses) == {200}
    assert survived == before
    assert all(ended)


def test_a_disk_that_is_full_when_a_version_is_put_in_quarantine_ends_no_server(tmp_path: Path, held: Held) -> None:
    publish(tmp_path / "models" / "times", 1, 1.0)
    saved_models.killer(tmp_path / "models" / "killer" / "1")
    settings = {"SERVING_MODEL_DIR": tmp_path / "models", "SERVING_RUNTIME_DIR": tmp_path / "run"}
    with serving(tmp_path / "log", WEB_CONCURRENCY=2, **settings) as server:
        with mounted(tmp_path / "run" / "control", "4k") as control:
            fill(control)
            ended = [end_worker(server, crash_one) for _ in range(3)]
        ended.append(end_worker(server, crash_one))
        wait_for(
            lambda: server.ask("POST", "/v1/models/killer:predict", {"instances": [1]}).status == 503, "quarantine", 30
        )
    refused = server.log.read_text().count("No space left")
    held(
        "a disk that is full when a version is put in quarantine",
        "the server goes on; the version is put there when there is room",
        f"refused {refused} times by the disk; of workers that end {ended.count(True)} of {len(ended)} are replaced",
    )
    assert refused
    assert all(ended)


ALONE = """
mount --make-rprivate / && mount -o remount,bind,ro / && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder on a file system of its own, which anybody may write to."""
    folder = Path("/dev/shm", f"serving-test-{os.getpid()}")  # noqa: S108  # its name is of this process
    folder.mkdir()
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def test_a_user_without_rights_on_a_read_only_root_is_enough(memory_folder: Path, held: Held) -> None:
    publish(memory_folder / "models" / "times", 2, 2.0)
    apart = ["unshare", "--mount", "sh", "-c", ALONE, "sh"]
    check = 'import os; os.open("/etc/held", os.O_CREAT)'
    tried = subprocess.run([*apart, sys.executable, "-c", check], capture_output=True, text=True, check=False)
    if "Error" not in tried.stderr:
        pytest.skip(f"this system cannot be made read-only for a process: {tried.stderr.strip()}")
    settings = {"SERVING_MODEL_DIR": memory_folder / "models", "TMPDIR": memory_folder, "HOME": "/nonexistent"}
    with serving(memory_folder / "log", [*apart, *gunicorn()], WEB_CONCURRENCY=2, **settings) as server:
        owner = Path(f"/proc/{server.process.pid}").stat().st_uid
        with Load(server, "times", clients=2, check=times_version) as load:
            publish(memory_folder / "models" / "times", 3, 3.0)
            wait_for(lambda: version_is(server, "times", 3, "AVAILABLE"), "the new version")
        metrics = server.ask("GET", "/metrics").status
        status = server.stop()
    held(
        "read-only root, unprivileged user",
        "serves",
        f"as user {owner}: {len(load.wrong)} of {load.answered} answers wrong, metrics {metrics}, exit {status}; "
        f"elsewhere {tried.stderr.strip().splitlines()[-1]}",
    )
    assert (owner, metrics, status) == (65534, 200, 0)
    assert "Errno 30" in tried.stderr or "Errno 13" in tried.stderr
    assert load.wrong == []
    assert "Traceback" not in (memory_folder / "log").read_text()
