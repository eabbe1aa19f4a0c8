"""A server whose clock on the wall jumps."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Held
from tests.server import ROOT, Load, gunicorn, serving, wait_for
from tests.test_server import publish, times_version, version_is

HOUR = 3600
JUMPS = {"2 hours on": 2 * HOUR, "3 days back": -72 * HOUR, "400 days on": 9600 * HOUR, "a second back": -1}
"""How far the clock is ahead, in seconds, one after the other."""


def write_seconds(file: Path, seconds: int) -> None:
    """Set the clock, in place: it is mapped."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(seconds.to_bytes(8, "little", signed=True))


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler to make the clock with")
def test_jumps_of_the_clock_harm_nobody(tmp_path: Path, held: Held) -> None:
    library, ahead, models = tmp_path / "clock.so", tmp_path / "ahead", tmp_path / "models"
    compile_it = ["cc", "-shared", "-fPIC", "-O", "-o", str(library), str(ROOT / "tests" / "jumping_clock.c")]
    subprocess.run(compile_it, check=True)
    write_seconds(ahead, 0)
    publish(models / "times", 1, 1.0)
    settings = {"SERVING_MODEL_DIR": models, "SERVING_MODEL_POLL_SECONDS": 0.2, "WEB_CONCURRENCY": 2}
    clock = {"LD_PRELOAD": library, "CLOCK_AHEAD_FILE": ahead}
    with serving(tmp_path / "log", gunicorn(), **settings, **clock) as server:
        before, dates = set(server.workers()), []
        with Load(server, "times", clients=2, check=times_version) as load:
            for version, seconds in enumerate(JUMPS.values(), start=2):
                write_seconds(ahead, seconds)
                publish(models / "times", version, float(version))
                wait_for(lambda v=version: version_is(server, "times", v, "AVAILABLE"), f"{version}")
                load.stopped(2)
                dates.append(server.ask("GET", "/healthz").headers["date"][:16])
        survived = before & set(server.workers())
    held(
        f"the clock jumps: {', '.join(JUMPS)}",
        "harmless",
        f"{len(load.wrong)} of {load.answered} answers wrong, {len(survived)} of 2 workers live on, "
        f"{len(JUMPS)} versions loaded meanwhile",
    )
    assert len(set(dates)) >= 3, f"the clock of the server did not jump: {dates}"
    assert load.wrong == []
    assert survived == before
