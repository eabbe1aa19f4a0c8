"""Every answer belongs to its request, whatever is batched and whoever hangs up."""

import asyncio
import json
import random
import re
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import saved_models
from tests.conftest import Held
from tests.server import Server, serving

CLIENTS = 64
REQUESTS = 100_000
HANG_UP_SHARE = 0.05
PARAMETERS = "max_batch_size { value: 64 } batch_timeout_micros { value: 1000 }"
"""A file of its own has the model batched although it is quick; the delay makes requests meet."""
RESET = struct.pack("ii", 1, 0)


@dataclass
class Tally:
    """What became of the requests of all clients; the inputs are the numbers that are left."""

    inputs: list[int]
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@pytest.mark.faults
def test_a_hundred_thousand_answers_belong_to_their_requests_while_callers_hang_up(tmp_path: Path, held: Held) -> None:
    saved_models.scale(tmp_path / "models" / "half" / "1", 0.5, 2.0)
    (tmp_path / "models" / "half" / "batching_params.pbtxt").write_text(PARAMETERS)
    settings = {"SERVING_MODEL_DIR": tmp_path / "models", "SERVING_THREADS": 32, "WEB_CONCURRENCY": 2}
    with serving(tmp_path / "log", SERVING_ACCESS_LOG="false", **settings) as server:
        tally = Tally(random.Random(0).sample(range(2**23), REQUESTS))
        started = time.monotonic()
        asyncio.run(call_all(server.port, tally))
        seconds = time.monotonic() - started
        rows, batches, dropped = joint_work(server)
    held(
        "100,000 unique inputs under batching and disconnects",
        "0 answers to another request",
        f"{len(tally.wrong)} wrong; {seconds:.0f} s, {dict(tally.outcomes)}; {rows:.0f} rows in {batches:.0f} batches, "
        f"{dropped:.0f} dropped",
    )
    assert tally.wrong == []
    assert sum(tally.outcomes.values()) == REQUESTS
    assert tally.outcomes.keys() == {"answered", "hung up", "reset"}
    assert dropped > 0
    assert rows > REQUESTS / 4, "hardly any requests were batched"


async def call_all(port: int, tally: Tally) -> None:
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(call(port, tally, random.Random(number)))


async def call(port: int, tally: Tally, chance: random.Random) -> None:
    """Send requests one after the other over one connection, and a new one after each hang-up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while tally.inputs:
        number = tally.inputs.pop()
        body = b'{"instances":[%d]}' % number
        writer.write(
            b"POST /v1/models/half:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        if chance.random() < HANG_UP_SHARE:
            await asyncio.sleep(chance.choice((0, 0.0005, 0.002)))
            tally.outcomes[hang_up(writer, chance)] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None, head
        answer = json.loads(await reader.readexactly(int(length[1])))
        tally.outcomes["answered"] += 1
        if answer != {"predictions": [number / 2 + 2]}:
            tally.wrong.append(f"{number}: {answer}")
    writer.close()


def hang_up(writer: asyncio.StreamWriter, chance: random.Random) -> str:
    """End a connection before its answer, in one of the two ways there are."""
    resets = chance.random() < 0.5
    if resets:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.close()
    return "reset" if resets else "hung up"


def joint_work(server: Server) -> tuple[float, float, float]:
    """The rows that ran together, in how many batches, and the requests that were not run since nobody waited."""
    text = server.ask("GET", "/metrics").body.decode()
    found = dict(re.findall(r'serving_batch_rows_(sum|count)\{model="half"\} (\S+)', text))
    dropped = sum(map(float, re.findall(r'serving_requests_total\{.*status="499".*\} (\S+)', text)))
    return float(found["sum"]), float(found["count"]), dropped
