"""Metrics that several processes count together."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import ROOT, environment

WORKER = """
import os, signal, sys
from pathlib import Path
from serving import metrics

number, requests = int(sys.argv[1]), int(sys.argv[2])
directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
metrics.count_as(number, directory)
metrics.show_model_states({("half", 1): "AVAILABLE"})
count, seconds = metrics.request_metrics("half", "1", "predict", 200)
for _ in range(requests):
    metrics.note(count, 1)
    metrics.note(seconds, 0.001)
metrics.count_noted()
if sys.argv[3] == "show":
    print(metrics.render(directory).decode())
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def run(directory: Path, number: int, requests: int, show: str = "") -> str:
    """Let a worker of this number count requests and be killed; what it shows before that."""
    return output(WORKER, str(number), str(requests), show, ends_well=False, PROMETHEUS_MULTIPROC_DIR=directory)


def output(code: str, *arguments: str, ends_well: bool = True, **settings: object) -> str:
    """What a process prints that runs this code, with these settings in its environment."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    environ = environment(**settings)
    return subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=ends_well).stdout


def value(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_a_worker_that_takes_the_place_of_another_counts_on_in_its_files(directory: Path) -> None:
    run(directory, 0, 5)
    run(directory, 1, 3)
    before = sorted(directory.iterdir())
    shown = run(directory, 0, 2, "show")
    assert value(shown, "serving_requests_total{") == 10
    assert value(shown, 'serving_request_seconds_bucket{le="+Inf"') == 10
    assert sorted(directory.iterdir()) == before


@pytest.mark.parametrize("left", [b"", (60_000).to_bytes(4, "little") + b"\x7f" * 65_532])
def test_a_file_that_was_left_broken_does_not_stop_the_next_worker(directory: Path, left: bytes) -> None:
    (directory / "counter_0.db").write_bytes(left)
    assert value(run(directory, 0, 2, "show"), "serving_requests_total{") == 2


def test_what_is_counted_has_its_place_on_the_disk_before_that_is_full(directory: Path) -> None:
    run(directory, 0, 1)
    files = [file.stat() for file in directory.iterdir()]
    assert len(files) == 3
    assert all(file.st_blocks * 512 >= file.st_size for file in files)


GONE = """
import os, sys
from pathlib import Path
from serving import metrics

directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) if sys.argv[1] == "shared" else None
if directory:
    metrics.count_as(0, directory)

def serve(version):
    states = {("half", version): "AVAILABLE"} if version else {}
    metrics.show_model_states(states | {("other", 1): "AVAILABLE"})
    metrics.note(metrics.request_metrics("half", str(version), "predict", 200)[0], version)
    metrics.note(metrics.run_metrics("half", version)[0], 0.001)

def forget(seconds):
    metrics.count_noted()
    return metrics.forget_gone(metrics.time.monotonic() + seconds)

serve(1)
serve(2)
print("too soon", forget(metrics.GONE_SECONDS - 10))
print("in time", forget(metrics.GONE_SECONDS + 10))
serve(2)
print("again", forget(metrics.GONE_SECONDS + 10))
print(metrics.render(directory).decode())
metrics.show_model_states({("half", 2): "AVAILABLE"}, board="another")
metrics.show_model_states({("other", 1): "AVAILABLE"})
print("elsewhere", forget(metrics.GONE_SECONDS + 10))
metrics.show_model_states({}, board="another")
print("the model", forget(metrics.GONE_SECONDS + 10))
print("left", "half" in metrics.render(directory).decode(), "other" in metrics.render(directory).decode())
"""


@pytest.mark.parametrize("where", ["shared", "alone"])
def test_the_metrics_of_a_version_that_is_gone_leave_after_a_while(directory: Path, where: str) -> None:
    shared = {"PROMETHEUS_MULTIPROC_DIR": directory} if where == "shared" else {}
    out = output(GONE, where, **shared)
    assert "too soon []\nin time [('half', 1)]\nagain []\n" in out
    assert value(out, 'serving_requests_total{method="predict",model="half",status="200",version="2"}') == 4
    assert 'serving_model_state{model="half",state="AVAILABLE",version="2"} 1.0' in out
    assert 'version="1"}' not in out.replace('model="other",state="AVAILABLE",version="1"', "")
    assert "elsewhere []\nthe model [('half', 2)]\nleft False True" in out


TAKES_OVER = """
import os
from pathlib import Path
from serving import metrics

directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
metrics.count_as(0, directory)
metrics.show_model_states({("half", 2): "AVAILABLE"})
print(metrics.forget_gone(metrics.time.monotonic() + metrics.GONE_SECONDS + 1))
print(metrics.render(directory).decode())
"""


def test_a_worker_forgets_the_versions_that_were_gone_before_it_began(directory: Path) -> None:
    run(directory, 0, 5)
    out = output(TAKES_OVER, PROMETHEUS_MULTIPROC_DIR=directory)
    assert "[('half', 1)]" in out
    assert value(out, "serving_request_seconds_count") == 5  # of a model that is still there
    assert value(out, "serving_requests_total{") == 0


FULL = """
import errno, os
from pathlib import Path
from serving import metrics

directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
metrics.count_as(0, directory)
metrics.show_model_states({("half", 1): "AVAILABLE"})
metrics.show_model_states({("half", 2): "AVAILABLE"})
allocate, now = os.posix_fallocate, metrics.time.monotonic() + metrics.GONE_SECONDS + 1

def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

os.posix_fallocate = full
print("full", metrics.forget_gone(now))
metrics.note(metrics.request_metrics("half", "2", "predict", 200)[0], 7)
print(metrics.render(directory).decode())
os.posix_fallocate = allocate
print("room", metrics.forget_gone(now + 2 * metrics.GONE_SECONDS))
"""


def test_on_a_full_disk_the_metrics_of_a_version_that_is_gone_stay_until_there_is_room(directory: Path) -> None:
    out = output(FULL, PROMETHEUS_MULTIPROC_DIR=directory)
    assert "full []" in out
    assert value(out, "serving_requests_total{") == 7
    assert "room [('half', 1)]" in out
