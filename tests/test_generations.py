"""How workers take over from each other."""

from serving import generations


def test_an_old_worker_is_replaced_when_a_new_one_serves() -> None:
    old = generations.current()
    generations.serves(old)
    generations.begin()
    new = generations.current()
    assert not generations.stops(old)
    assert not generations.is_replaced(old)
    generations.serves(new)
    assert generations.is_replaced(old)
    assert not generations.is_replaced(new)


def test_when_the_newest_stop_the_server_stops_and_the_old_need_not_wait() -> None:
    old = generations.current()
    generations.begin()
    assert not generations.stops(old)
    assert generations.stops(generations.current())
    assert generations.stops(old)
    generations.begin()
    assert not generations.stops(old)
