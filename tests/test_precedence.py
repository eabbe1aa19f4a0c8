import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serving import precedence as module
from serving.fibers import Fibers
from serving.precedence import TURNS, Precedence
from serving.tensors import cost, skim
from serving.tensors.spec import DTYPES
from tests.server import wait_for

MOMENT = 0.2
"""Much longer than a thread rests, and than it takes to go on."""
FOREVER = 60.0


class TurningLoop(asyncio.AbstractEventLoop):
    """An event loop of which each turn is made by hand."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *values: Any, context: Any = None) -> Any:
        self._calls.append(lambda: callback(*values))

    def turn(self) -> bool:
        """Whether there was anything to do."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()
        return bool(calls)


@pytest.fixture
def loop() -> TurningLoop:
    return TurningLoop()


@pytest.fixture
def precedence() -> Precedence:
    return Precedence(lambda: True)


def start(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_a_thread_waits_until_the_event_loop_has_answered(
    precedence: Precedence, loop: TurningLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", FOREVER)
    precedence.claim(loop)
    threads = [start(precedence.give_way) for _ in range(2)]
    for _ in range(TURNS - 1):
        assert loop.turn()
    threads[0].join(MOMENT)
    assert all(thread.is_alive() for thread in threads)
    assert loop.turn()
    wait_for(lambda: not any(thread.is_alive() for thread in threads), "they go on", 10)
    assert not loop.turn()


def test_a_thread_does_not_wait_for_long(precedence: Precedence, loop: TurningLoop) -> None:
    precedence.claim(loop)
    thread = start(precedence.give_way)
    wait_for(lambda: not thread.is_alive(), "it goes on although the event loop does not", 10)


def test_requests_that_come_meanwhile_make_nobody_wait_longer(precedence: Precedence, loop: TurningLoop) -> None:
    precedence.claim(loop)
    for _ in range(TURNS):
        precedence.claim(loop)
        assert loop.turn()
    assert not loop.turn()


def test_the_event_loop_does_not_wait_for_itself(
    precedence: Precedence, loop: TurningLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", FOREVER)
    precedence.claim(loop)
    ended = threading.Event()
    start(lambda: Fibers(loop).run(precedence.give_way, lambda _: ended.set()))
    assert ended.wait(10)


def test_nobody_waits_where_nothing_else_is_asked_for(loop: TurningLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", FOREVER)
    precedence = Precedence(lambda: False)
    precedence.claim(loop)
    assert not loop.turn()
    thread = start(precedence.give_way)
    wait_for(lambda: not thread.is_alive(), "it goes on at once", 10)


def test_large_texts_are_read_in_pieces_between_which_the_event_loop_may_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways: list[str] = []

    class Counted:
        def __init__(self, name: str) -> None:
            self.name = name

        def give_way(self) -> None:
            ways.append(self.name)

    monkeypatch.setattr(skim, "precedence", Counted("skim"))
    monkeypatch.setattr(cost, "precedence", Counted("cost"))
    text = memoryview(f"[{','.join(['0.25'] * 1_000_000)}]".encode())
    read = skim.skim(text, DTYPES["DT_FLOAT"])
    assert read is not None
    assert np.array_equal(read, np.full(1_000_000, 0.25, np.float32))
    assert ways.count("skim") >= len(text) // skim.PIECE_BYTES
    cost.numbers_bytes(text)
    counted = ways.count("cost")
    cost.objects_bytes(text)
    assert 0 < counted < ways.count("cost")


def test_a_small_text_is_read_without_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", FOREVER)
    monkeypatch.setattr(skim, "precedence", Precedence(lambda: True))
    read = skim.skim(memoryview(b"[" + b"0.25," * 1_000 + b"1]"), DTYPES["DT_FLOAT"])
    assert read is not None
    assert read.shape == (1_001,)
