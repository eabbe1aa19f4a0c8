"""Workers and threads for a machine."""

from pathlib import Path

import pytest

from serving.capacity import MEBI, Machine, directory_bytes, plan, tensorflow_threads, this_machine

GIBI = 1024 * MEBI


@pytest.mark.parametrize(
    ("machine", "model_bytes", "workers"),
    [
        (Machine(cores=4, memory=16 * GIBI), 1 * MEBI, 4),
        (Machine(cores=64, memory=8 * GIBI), 1 * MEBI, 8),
        (Machine(cores=4, memory=16 * GIBI), 6 * GIBI, 2),
        (Machine(cores=4, memory=1 * GIBI), 6 * GIBI, 1),
        (Machine(cores=16, memory=64 * GIBI, gpus=1), 1 * MEBI, 1),
        (Machine(cores=16, memory=64 * GIBI, gpus=4), 1 * MEBI, 4),
    ],
)
def test_workers_fit_cores_memory_and_gpus(machine: Machine, model_bytes: int, workers: int) -> None:
    assert plan(machine, model_bytes, 640 * MEBI).workers == workers


def test_what_the_operator_gives_is_taken() -> None:
    chosen = plan(Machine(cores=2, memory=1 * GIBI), 0, 0, workers=7, threads=3)
    assert (chosen.workers, chosen.threads) == (7, 3)


@pytest.mark.parametrize(("workers", "threads"), [(0, 8), (1, 8), (4, 2), (8, 1), (16, 1)])
def test_the_workers_share_the_cores_between_their_tensorflow_threads(workers: int, threads: int) -> None:
    assert tensorflow_threads(Machine(cores=8, memory=0), workers) == threads


def test_this_machine_has_cores_and_memory() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory > 100 * MEBI


def test_a_directory_is_as_large_as_the_files_below_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "below" / "b").write_bytes(b"12345")
    assert directory_bytes(tmp_path) == 8


def test_what_cannot_be_looked_at_takes_no_room(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"123")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert directory_bytes(tmp_path) == 3
    assert directory_bytes(tmp_path / "nowhere") == 0


def test_a_file_that_vanishes_while_a_directory_is_measured_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").write_bytes(b"123")
    monkeypatch.setattr("os.walk", lambda top: [(str(top), [], ["there", "vanished"])])
    assert directory_bytes(tmp_path) == 3


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100001 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "20000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.max": "nonsense\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_containers_share_of_cpu_time_limits_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert this_machine(cgroup=tmp_path).cores == cores
