"""Clients whose dependencies do not go together with the server's; `make test-clients` installs each by itself."""

import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT, Server

pytestmark = pytest.mark.clients

ENVIRONMENTS = ROOT / ".clients"


@pytest.mark.parametrize("client", ["kserve", "mlserver"])
def test_the_client_gets_its_answers(server: Server, client: str) -> None:
    python = ENVIRONMENTS / client / "bin" / "python"
    assert python.exists(), "make test-clients installs the clients"
    script = Path(__file__).with_name(f"{client}_client.py")
    command = [str(python), str(script), f"http://127.0.0.1:{server.port}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
