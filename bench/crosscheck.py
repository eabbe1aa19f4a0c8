"""Whether another load generator, wrk, sees what ours does; where it is installed."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.load import split
from bench.measure import Measurer
from bench.servers import Running
from bench.work import TINY_32

_SECONDS = 3
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


def notes(servers: Iterable[Running], measurer: Measurer) -> list[str]:
    """A sentence with both figures for each server; nothing without wrk."""
    if shutil.which("wrk") is None:
        return []
    return [_note(running, measurer) for running in servers]


def _note(running: Running, measurer: Measurer) -> str:
    request, rate = measurer.generated(running, TINY_32)
    seen = _wrk(running.port, request)
    return f"{TINY_32.name}, {running.server.name}: {rate:,.0f} requests/s, and {seen:,.0f} by wrk right after"


def _wrk(port: int, request: bytes) -> float:
    head, body = split(request)
    path = head.split(b" ")[1].decode()
    with TemporaryDirectory(prefix="bench-") as folder:
        script = Path(folder, "post.lua")
        script.write_text(f'wrk.method = "POST"\nwrk.body = {json.dumps(body.decode())}\n')
        command = ["wrk", "-t1", f"-c{TINY_32.clients}", f"-d{_SECONDS}s", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, timeout=60, check=False
        )
    found = _RATE.search(done.stdout)
    return float(found[1]) if found else 0.0
