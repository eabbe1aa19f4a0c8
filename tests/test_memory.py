"""Bytes that requests share."""

import threading

from serving.memory import Memory
from tests.server import wait_for


def test_so_many_bytes_are_taken_and_no_more() -> None:
    memory = Memory(10)
    assert memory.take(9)
    assert memory.take(1)
    assert not memory.take(1)
    memory.give_back(1)
    assert memory.take(1)


def test_what_can_never_be_had_is_not_waited_for() -> None:
    assert not Memory(10).take(11, seconds=3600)


def test_bytes_that_are_given_back_in_time_are_taken() -> None:
    memory, taken = Memory(10), list[bool]()
    memory.take(10)
    waiting = threading.Thread(target=lambda: taken.append(memory.take(5, seconds=60)))
    waiting.start()
    memory.give_back(4)
    assert not taken
    memory.give_back(1)
    waiting.join(60)
    assert taken == [True]


def test_bytes_that_are_there_already_count_even_beyond_the_limit() -> None:
    memory = Memory(10)
    memory.count(15)
    assert memory.free == -5
    assert not memory.take(1)
    memory.give_back(6)
    wait_for(lambda: memory.take(1), "there is room again")
