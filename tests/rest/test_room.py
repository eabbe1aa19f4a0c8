"""The memory that requests share for being read."""

import asyncio
import time

from serving.caller import Caller
from serving.errors import Unavailable
from serving.fibers import Fibers
from serving.rest.room import Room
from serving.rest.trace import Trace, begin, end
from serving.settings import Settings

MEBI = 1024 * 1024


def test_in_the_event_loop_nothing_waits_for_memory() -> None:
    settings = Settings(request_memory_bytes=80 * MEBI, memory_wait_seconds=20.0)
    room = Room(settings)

    def take() -> str:
        now = time.monotonic()
        begin({}, Trace(now, "id", Caller(now, now + 60)))
        try:
            with room.reading() as objects:
                objects.need(10 * MEBI)
                return "taken"
        except Unavailable:
            return "refused"
        finally:
            end()

    async def answered() -> str:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[str] = loop.create_future()
        Fibers(loop).run(take, outcome.set_result)
        return await asyncio.wait_for(outcome, 10)

    assert asyncio.run(answered()) == "taken"
    everything = room.reading()
    now = time.monotonic()
    begin({}, Trace(now, "id", Caller(now, now + 60)))
    everything.need(settings.objects_bytes)
    end()
    assert asyncio.run(answered()) == "refused"
