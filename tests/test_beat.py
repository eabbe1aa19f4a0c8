import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.beat import Beat, Work
from serving.beat import beat as process_beat
from serving.lanes import Lanes
from serving.models.runner import Runner
from tests.server import wait_for

REST_SECONDS = 0.1
"""A hundred beats: a thread that beats hardly passes so long without one."""
SLOW, QUICK = Work("slow", in_loop=True), Work("quick", in_loop=True)
BEATS, BEATS_SECONDS = 500, 8
"""A beat takes half a second for so many, a thread that only looks now and then more than the time that is waited."""


def wake_ups() -> int:
    """How often the threads that beat have woken, together."""
    threads = [thread for thread in threading.enumerate() if thread.name == "beat"]
    statuses = [Path(f"/proc/self/task/{thread.native_id}/status").read_text() for thread in threads]
    return sum(int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for status in statuses)


def beats(beat: Beat, asked: Work = QUICK) -> bool:
    """Whether it does while requests come that ask for this."""

    def goes_on() -> bool:
        beat.note(asked)
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


def test_it_beats_while_any_thread_is_at_work(beat: Beat) -> None:
    with beat.during(SLOW):
        assert beats(beat)
        with beat.during(SLOW):
            assert beats(beat)
        assert beats(beat)
    wait_for(rests, "the beat ends", 10)
    with beat.during(SLOW):
        assert beats(beat)


def test_it_ends_with_what_fails(beat: Beat) -> None:
    with pytest.raises(ValueError, match="fails"), beat.during(SLOW):
        raise ValueError("fails")
    wait_for(rests, "the beat ends", 10)


def test_one_thread_beats_for_all(beat: Beat) -> None:
    entered = threading.Barrier(9)
    left = threading.Event()

    def stay() -> None:
        with beat.during(SLOW):
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


def test_it_slows_down_while_no_requests_come(beat: Beat) -> None:
    with beat.during(SLOW):
        assert beats(beat)
        wait_for(lambda: rests(10), "nobody gains by a beat", 10)
        assert beats(beat)


def rests_beside(beat: Beat, asked: Work) -> None:
    """See that it slows down while requests come that ask for this."""

    def rests_all_the_same() -> bool:
        beat.note(asked)
        return rests(10)

    wait_for(rests_all_the_same, "nobody gains by a beat", 10)


def test_it_slows_down_while_all_requests_ask_for_what_is_being_done(beat: Beat) -> None:
    with beat.during(SLOW):
        assert beats(beat)
        rests_beside(beat, SLOW)


@pytest.mark.parametrize(
    "asked", [Work("", in_loop=True), SLOW._replace(in_loop=False)], ids=["none that runs a model", "a large one"]
)
def test_it_beats_for_requests_that_ask_for_anything_else(beat: Beat, asked: Work) -> None:
    with beat.during(SLOW):
        assert beats(beat, asked)


@pytest.mark.parametrize("asked", [SLOW, QUICK])
def test_it_beats_for_both_of_what_is_being_done(beat: Beat, asked: Work) -> None:
    with beat.during(SLOW), beat.during(QUICK):
        assert beats(beat, asked)


def test_what_is_within_runs_without_a_thread_to_spare(beat: Beat, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(2):
        with beat.during(SLOW):
            pass


@pytest.mark.parametrize(
    ("submit", "work"),
    [
        (lambda call: Lanes(1, 1).submit("slow", call), Work("slow", in_loop=False)),
        (lambda call: Runner("slow").submit(call), Work("slow", in_loop=True)),
    ],
    ids=["threads for requests", "threads for runs"],
)
def test_threads_are_at_work_for_what_they_were_given(
    submit: Callable[[Callable[[], None]], object], work: Work
) -> None:
    over = threading.Event()
    submit(lambda: over.wait(20) and None)
    assert beats(process_beat)
    rests_beside(process_beat, work)
    over.set()
    wait_for(rests, "the beat ends", 10)
