import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.beat import Beat
from serving.beat import beat as process_beat
from serving.lanes import Lanes
from serving.models.runner import Runner
from tests.server import wait_for

REST_SECONDS = 0.1
"""A hundred beats: a thread that beats hardly passes so long without one."""
BEATS, BEATS_SECONDS = 500, 8
"""A beat takes half a second for so many, a thread that only looks now and then more than the time that is waited."""


def wake_ups() -> int:
    """How often the threads that beat have woken, together."""
    threads = [thread for thread in threading.enumerate() if thread.name == "beat"]
    statuses = [Path(f"/proc/self/task/{thread.native_id}/status").read_text() for thread in threads]
    return sum(int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for status in statuses)


def beats(beat: Beat) -> bool:
    """Whether it does while requests are answered in the event loop."""

    def goes_on() -> bool:
        beat.expect_requests()
        return wake_ups() > before + BEATS

    before = wake_ups()
    return bool(wait_for(goes_on, "the beat goes on", BEATS_SECONDS))


def rests(most: int = 0) -> bool:
    before = wake_ups()
    time.sleep(REST_SECONDS)
    return wake_ups() <= before + most


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@pytest.fixture
def beat() -> Beat:
    return Beat()


def test_it_beats_while_any_thread_is_within(beat: Beat) -> None:
    with beat:
        assert beats(beat)
        with beat:
            assert beats(beat)
        assert beats(beat)
    wait_for(rests, "the beat ends", 10)
    with beat:
        assert beats(beat)


def test_it_ends_with_what_fails(beat: Beat) -> None:
    with pytest.raises(ValueError, match="fails"), beat:
        raise ValueError("fails")
    wait_for(rests, "the beat ends", 10)


def test_one_thread_beats_for_all(beat: Beat) -> None:
    entered = threading.Barrier(9)
    left = threading.Event()

    def stay() -> None:
        with beat:
            entered.wait(10)
            left.wait(10)

    threads = [threading.Thread(target=stay) for _ in range(8)]
    before = names().count("beat")
    for thread in threads:
        thread.start()
    entered.wait(10)
    assert names().count("beat") == before + 1
    assert beats(beat)
    left.set()
    for thread in threads:
        thread.join()
    wait_for(rests, "the beat ends", 10)


def test_it_slows_down_while_the_event_loop_answers_nothing(beat: Beat) -> None:
    with beat:
        assert beats(beat)
        wait_for(lambda: rests(10), "nobody gains by a beat", 10)
        assert beats(beat)


def test_what_is_within_runs_without_a_thread_to_spare(beat: Beat, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(2):
        with beat:
            pass


@pytest.mark.parametrize("submit", [lambda call: Lanes(1, 1).submit("model", call), Runner("model").submit])
def test_threads_for_requests_and_runs_are_within(submit: Callable[[Callable[[], None]], object]) -> None:
    over = threading.Event()
    submit(lambda: over.wait(10) and None)
    assert beats(process_beat)
    over.set()
    wait_for(rests, "the beat ends", 10)
