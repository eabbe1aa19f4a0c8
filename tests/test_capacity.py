"""Workers and threads for a machine."""

from pathlib import Path

import pytest

from serving.capacity import MEBI, Machine, directory_bytes, plan, tensorflow_threads, this_machine

GIBI = 1024 * MEBI


@pytest.mark.parametrize(
    ("machine", "model_bytes", "workers"),
    [
        (Machine(cores=4, memory=16 * GIBI), 1 * MEBI, 4),
        (Machine(cores=64, memory=8 * GIBI), 1 * MEBI, 13),
        (Machine(cores=4, memory=16 * GIBI), 2 * GIBI, 2),
        (Machine(cores=4, memory=1 * GIBI), 2 * GIBI, 1),
        (Machine(cores=16, memory=64 * GIBI, gpus=1), 1 * MEBI, 1),
        (Machine(cores=16, memory=64 * GIBI, gpus=4), 1 * MEBI, 4),
    ],
)
def test_workers_fit_cores_memory_and_gpus(machine: Machine, model_bytes: int, workers: int) -> None:
    assert plan(machine, model_bytes).workers == workers


def test_what_the_operator_gives_is_taken() -> None:
    chosen = plan(Machine(cores=2, memory=1 * GIBI), 0, workers=7, threads=3)
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
