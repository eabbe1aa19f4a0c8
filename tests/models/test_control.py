"""Orders to load and unload, as several workers carry them out."""

import threading
from pathlib import Path

import pytest

from serving.errors import DeadlineExceeded, NotFound
from serving.models.control import ControlledSource, ModelControl, OrderFile, Orders, OrderWatch, Quarantined
from serving.models.lifecycle import State, Statuses, VersionStatus
from tests.fakes import FakeSource, on_disk
from tests.server import wait_for

AVAILABLE = (VersionStatus(1, State.AVAILABLE),)


class FakeBoard:
    """The statuses of two workers, the second of which carries out orders only when told to."""

    def __init__(self, source: ControlledSource) -> None:
        self._source = source
        self.of_other: dict[str, tuple[VersionStatus, ...]] = {"half": AVAILABLE}
        self.number_of_other = 0

    def obeyed(self, number: int) -> list[Statuses] | None:
        own = dict.fromkeys(self._source.poll(), AVAILABLE)
        numbers = (self._source.number, self.number_of_other)
        return [own, self.of_other] if min(numbers) >= number else None


@pytest.fixture
def source() -> FakeSource:
    found = FakeSource()
    found.set("half", on_disk(1))
    found.set("twice", on_disk(2, model="twice"))
    return found


@pytest.mark.parametrize("shared", [True, False])
def test_orders_are_numbered_and_remembered(tmp_path: Path, shared: bool) -> None:
    orders = OrderFile(tmp_path if shared else None)
    assert orders.read() == Orders()
    assert orders.give("half", serve=False) == 1
    assert orders.give("twice", serve=False) == 2
    assert orders.give("half", serve=True) == 3
    assert orders.read() == Orders(3, frozenset({"twice"}))


def test_orders_are_the_same_for_all_workers(tmp_path: Path) -> None:
    OrderFile(tmp_path).give("half", serve=False)
    assert OrderFile(tmp_path).read() == Orders(1, frozenset({"half"}))


def test_no_order_is_lost_when_many_are_given_at_once(tmp_path: Path) -> None:
    def give(worker: int) -> None:
        for number in range(20):
            OrderFile(tmp_path).give(f"{worker}-{number}", serve=False)

    threads = [threading.Thread(target=give, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    orders = OrderFile(tmp_path).read()
    assert orders.number == len(orders.unloaded) == 80


def test_a_source_leaves_out_what_is_unloaded_and_says_what_that_was(source: FakeSource) -> None:
    orders = OrderFile(None)
    controlled = ControlledSource(source, orders)
    assert set(controlled.poll()) == {"half", "twice"}
    number = orders.give("half", serve=False)
    assert set(controlled.poll()) == {"twice"}
    assert (controlled.number, set(controlled.unloaded)) == (number, {"half"})
    orders.give("half", serve=True)
    assert set(controlled.poll()) == {"half", "twice"}
    assert not controlled.unloaded


def test_an_order_is_done_only_when_every_worker_has_carried_it_out(source: FakeSource) -> None:
    controlled = ControlledSource(source, OrderFile(None))
    board = FakeBoard(controlled)
    control = ModelControl(OrderFile(None), controlled, board, lambda: None, wait_seconds=0.05)
    with pytest.raises(DeadlineExceeded, match="Not every worker"):
        control.unload("half")


def test_an_order_waits_for_the_other_worker(source: FakeSource) -> None:
    orders = OrderFile(None)
    controlled = ControlledSource(source, orders)
    board = FakeBoard(controlled)
    asked = threading.Event()
    control = ModelControl(orders, controlled, board, asked.set, wait_seconds=30)
    thread = threading.Thread(target=control.unload, args=("half",))
    thread.start()
    assert asked.wait(30)
    board.number_of_other = 1
    assert thread.is_alive()  # it looks, but still has the model
    board.of_other = {}
    thread.join(30)
    assert not thread.is_alive()


def test_a_worker_that_loads_another_model_does_not_hold_up_an_order(source: FakeSource) -> None:
    orders = OrderFile(None)
    controlled = ControlledSource(source, orders)
    board = FakeBoard(controlled)
    board.number_of_other = 1
    board.of_other = {"half": AVAILABLE, "twice": (VersionStatus(2, State.LOADING),)}
    ModelControl(orders, controlled, board, lambda: None, wait_seconds=30).load("half")


def test_an_unknown_model_cannot_be_unloaded_and_no_order_is_given(source: FakeSource) -> None:
    orders = OrderFile(None)
    controlled = ControlledSource(source, orders)
    control = ModelControl(orders, controlled, FakeBoard(controlled), lambda: None, wait_seconds=30)
    with pytest.raises(NotFound, match="nobody"):
        control.unload("nobody")
    assert orders.read().number == 0


def test_orders_given_to_other_workers_are_seen(tmp_path: Path, source: FakeSource) -> None:
    orders = OrderFile(tmp_path)
    controlled = ControlledSource(source, orders)
    looked = threading.Event()
    watch = OrderWatch(orders, controlled, looked.set)
    try:
        OrderFile(tmp_path).give("half", serve=False)
        wait_for(looked.is_set, "the order is seen", 30)
    finally:
        watch.close()
        watch.close()


def test_orders_that_cannot_be_read_for_a_while_are_seen_then(
    tmp_path: Path, source: FakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "orders").mkdir()  # where a file ought to be
    orders = OrderFile(tmp_path)
    looked = threading.Event()
    watch = OrderWatch(orders, ControlledSource(source, orders), looked.set)
    try:
        wait_for(lambda: "orders cannot be read: " in caplog.text, "it has failed", 30)
        (tmp_path / "orders").rmdir()
        orders.give("half", serve=False)
        wait_for(looked.is_set, "the order is seen", 30)
    finally:
        watch.close()
    assert caplog.text.count("cannot be read") == 1


class TestQuarantine:
    @pytest.fixture
    def orders(self, tmp_path: Path) -> OrderFile:
        return OrderFile(tmp_path)

    @pytest.fixture
    def controlled(self, source: FakeSource, orders: OrderFile) -> ControlledSource:
        source.set("half", on_disk(1), on_disk(2))
        orders.quarantine(Quarantined("half", 2, "as made", "it ends workers"))
        return ControlledSource(source, orders)

    def test_a_version_in_quarantine_is_left_out_with_the_reason(self, controlled: ControlledSource) -> None:
        model = controlled.poll()["half"]
        assert [version.version for version in model.versions] == [1]
        assert model.quarantined == {2: "it ends workers"}
        assert controlled.poll()["twice"].quarantined == {}

    def test_other_files_are_tried(self, controlled: ControlledSource, source: FakeSource) -> None:
        source.set("half", on_disk(1), on_disk(2, "mended"))
        model = controlled.poll()["half"]
        assert [version.version for version in model.versions] == [2, 1]
        assert not model.quarantined

    def test_loading_a_model_by_hand_tries_it_again(self, controlled: ControlledSource, orders: OrderFile) -> None:
        orders.give("twice", serve=True)
        assert controlled.poll()["half"].quarantined
        orders.give("half", serve=True)
        assert not controlled.poll()["half"].quarantined

    def test_whoever_was_blamed_wrongly_is_tried_again_in_the_same_order(
        self, controlled: ControlledSource, orders: OrderFile
    ) -> None:
        before = orders.read()
        orders.quarantine(Quarantined("twice", 2, "as made", "it is the one"), instead_of=before.quarantined)
        found = controlled.poll()
        assert [name for name, model in found.items() if model.quarantined] == ["twice"]
        assert controlled.number == before.number + 1

    def test_everything_can_be_forgiven_at_once(self, controlled: ControlledSource, orders: OrderFile) -> None:
        before = orders.read().number
        orders.forgive()
        orders.forgive()
        assert not controlled.poll()["half"].quarantined
        assert controlled.number == before + 1
