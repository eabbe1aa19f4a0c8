"""TensorFlow's noise, and the device and threads of its sessions. What is printed is seen in processes of their own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from serving.models.runtime import Device, choose_device, session_config, tf
from tests import saved_models

ROOT = Path(__file__).parents[2]

LOAD_AND_RUN = """
import sys
from pathlib import Path
import numpy as np
from serving.models.runtime import Device, list_gpus, session_config
from serving.models.servable import Servable
from serving.models.warmup import warm_up
print(list_gpus())
servable = Servable(Path(sys.argv[1]), session_config(Device(None, "CPU"), 1), 30.0)
warm_up(servable, Path(sys.argv[1]))
print(servable.run("serving_default", {"x": np.float32([[1]])})["y"].tolist())
"""

NOISY_TENSORFLOW = """
import os
from contextlib import suppress
from types import SimpleNamespace
with suppress(OSError):
    os.write(2, b"noise of the C++ kind")
if os.environ.get("FAILS"):
    raise ImportError("no such symbol")
get_logger = lambda: SimpleNamespace(setLevel=lambda level: None)
"""


def python(program: str, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program with TensorFlow's log level as users have it: not set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**inherited, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="CUDA has something to say")
def test_importing_loading_and_running_print_nothing_on_a_machine_without_gpu(tmp_path: Path) -> None:
    saved_models.half_plus_two(tmp_path / "1")
    saved_models.write_warmup(tmp_path / "1", {"x": [[2.0]]})
    ran = python(LOAD_AND_RUN, tmp_path / "1")
    assert (ran.stdout.splitlines(), ran.stderr) == (["[]", "[[2.5]]"], "")


@pytest.fixture
def noisy_tensorflow(tmp_path: Path) -> str:
    """A search path on which `tensorflow` is a module that writes to standard error as C++ does."""
    (tmp_path / "tensorflow.py").write_text(NOISY_TENSORFLOW)
    return f"{tmp_path}{os.pathsep}{ROOT}"


def test_what_the_import_says_is_held_back(noisy_tensorflow: str) -> None:
    ran = python("import serving.models.runtime", PYTHONPATH=noisy_tensorflow)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_a_failing_import_says_is_shown(noisy_tensorflow: str) -> None:
    ran = python("import serving.models.runtime", PYTHONPATH=noisy_tensorflow, FAILS="yes")
    assert ran.returncode == 1
    assert "noise of the C++ kind" in ran.stderr
    assert "ImportError: no such symbol" in ran.stderr


def test_the_import_works_without_a_standard_error(noisy_tensorflow: str) -> None:
    program = "import os, sys; os.close(2); sys.stderr = None; import serving.models.runtime"
    assert python(program, PYTHONPATH=noisy_tensorflow).returncode == 0


@pytest.mark.parametrize(("asked", "level"), [({}, "2"), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, "0")])
def test_an_operator_may_ask_tensorflow_to_say_more(asked: dict[str, str], level: str, noisy_tensorflow: str) -> None:
    program = "import os, serving.models.runtime; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert python(program, PYTHONPATH=noisy_tensorflow, **asked).stdout == f"{level}\n"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere TensorFlow chooses")
@pytest.mark.parametrize(("asked", "used"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_onednn_is_used_unless_the_operator_says_no(asked: dict[str, str], used: str, tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text(
        "import logging, os\nprint(os.environ['TF_ENABLE_ONEDNN_OPTS'])\nget_logger = logging.getLogger\n"
    )
    assert python("import serving.models.runtime", PYTHONPATH=str(tmp_path), **asked).stdout == f"{used}\n"


class TestDevice:
    def test_without_a_gpu_it_is_the_cpu(self) -> None:
        assert choose_device([], 3) == Device(None, "CPU")

    def test_one_gpu_is_for_all_workers(self) -> None:
        assert [choose_device(["H100"], worker) for worker in range(2)] == [Device(0, "GPU 0 of 1 (H100)")] * 2

    def test_workers_take_turns_through_several_gpus(self) -> None:
        assert [choose_device(["A", "B"], worker).gpu for worker in range(5)] == [0, 1, 0, 1, 0]
        assert choose_device(["A", "B"], 1).description == "GPU 1 of 2 (B)"


class TestSessionConfig:
    def test_ops_pinned_to_what_is_not_there_run_elsewhere(self) -> None:
        assert session_config(Device(None, "CPU"), 1).allow_soft_placement
        assert session_config(Device(0, "GPU"), 1).allow_soft_placement

    def test_on_the_cpu_no_gpu_is_touched(self) -> None:
        assert session_config(Device(None, "CPU"), 1).device_count["GPU"] == 0

    def test_a_gpu_is_the_only_one_seen_and_gives_memory_as_it_is_needed(self) -> None:
        config = session_config(Device(1, "GPU"), 1)
        assert config.gpu_options.allow_growth
        assert config.gpu_options.visible_device_list == "1"
        assert "GPU" not in config.device_count

    @pytest.mark.parametrize(("threads", "scheduling"), [(1, 2), (2, 2), (8, 8)])
    def test_there_are_two_threads_or_more_to_schedule(self, threads: int, scheduling: int) -> None:
        config = session_config(Device(None, "CPU"), threads)
        assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (threads, scheduling)

    def test_no_second_copy_of_the_constants_is_kept(self) -> None:
        assert session_config(Device(None, "CPU"), 1).experimental.disable_output_partition_graphs

    def test_tensorflow_takes_it(self) -> None:
        with tf.compat.v1.Session(graph=tf.Graph(), config=session_config(Device(None, "CPU"), 1)) as session:
            assert [device.device_type for device in session.list_devices()] == ["CPU"]
