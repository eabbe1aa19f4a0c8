"""The other servers, each in a virtual environment of its own, made once under bench/.envs.

Each has those of the settings that its documentation gives for speed that were fastest when tried.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench import dialects
from bench.loop import CORES
from bench.places import APPS, ENVIRONMENTS
from bench.servers import NotMeasured, Server

INSTALL_SECONDS = 1800
_MODELS = {"BENCH_MODELS": "{models}"}


def _fastapi(python: str) -> Server:
    command = ("-m", "uvicorn", "fastapi_app:app", "--port", "{port}", "--workers", str(CORES), "--no-access-log")
    fast = ("--loop", "uvloop", "--http", "httptools", "--log-level", "warning")
    return Server("FastAPI", (python, *command, *fast), {"json": dialects.rows("/{model}")}, _MODELS)


def _litserve(python: str) -> Server:
    ask = {"json": dialects.rows_naming_model("/predict")}
    return Server("LitServe", (python, "litserve_app.py", "{port}"), ask, _MODELS, "/health", restless=True)


def _bentoml(python: str) -> Server:
    command = (python, "-m", "bentoml", "serve", "bentoml_app:Models", "--host", "127.0.0.1", "--port", "{port}")
    ask = {"json": dialects.rows_naming_model("/predict")}
    return Server("BentoML", command, ask, _MODELS | {"BENTOML_DO_NOT_TRACK": "1"}, "/readyz")


def _mlserver(python: str) -> Server:
    command = (python, "mlserver_app.py", "{port}", "{scratch}/mlserver")
    environment = _MODELS | {"BENCH_TF_THREADS": str(CORES)}
    return Server("MLServer", command, {"json": dialects.columns()}, environment, "/v2/models/{model}/ready")


def _triton(python: str) -> Server:
    ask = {"json": dialects.columns(scalars_in_lists=True), "binary": dialects.binary(scalars_in_lists=True)}
    return Server("Triton", (python, "triton_app.py", "{port}"), ask, _MODELS, "/v2/models/{model}/ready")


PEERS: dict[str, Callable[[str], Server]] = {
    "fastapi": _fastapi,
    "litserve": _litserve,
    "bentoml": _bentoml,
    "mlserver": _mlserver,
    "triton": _triton,
}


_PACKAGES = {"triton": "nvidia_pytriton"}
"""What a peer's package is called where that is not the peer's short name."""


def version(name: str) -> str:
    """The version of a peer that was installed."""
    package = _PACKAGES.get(name, name)
    found = (ENVIRONMENTS / name).glob(f"lib/python*/site-packages/{package}-*.dist-info")
    return next((folder.name.removesuffix(".dist-info").rpartition("-")[2] for folder in found), "unknown")


def prepare(name: str, say: Callable[[str], None]) -> Server:
    """A peer by its short name, its environment made when it is missing; NotMeasured when it cannot be."""
    requirements = APPS / "requirements" / f"{name}.txt"
    folder = ENVIRONMENTS / name
    stamp = folder / "installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing {name}")
        _install(folder, requirements)
        stamp.write_text(wanted)
    return PEERS[name](str(folder / "bin" / "python"))


def _install(folder: Path, requirements: Path) -> None:
    """Make an environment. It is made by the system's Python where that is of the same version, as Triton wants."""
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [_python(), "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotMeasured(f"it cannot be installed: {error}") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise NotMeasured(f"it cannot be installed: {lines[-1]}")


def _python() -> str:
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    return str(system) if system.exists() else sys.executable
