"""Requests that meet at a model run together."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from serving.caller import PATIENT, Caller
from serving.errors import Cancelled, DeadlineExceeded, InvalidArgument, ServingError, Unavailable
from serving.models.batching import Batcher
from serving.models.limits import BatchLimits, Plan
from serving.models.processors import Processors
from serving.tensors.spec import Array
from tests.fakes import FakeClock
from tests.server import wait_for


def floats(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)}


class Doubling:
    """A model that doubles, whose runs a test can hold up, and that refuses batches with a negative row."""

    signatures: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.seconds: list[float] = []
        """How long whoever waits for each run goes on waiting."""
        self.go_on = threading.Event()
        self.go_on.set()
        self.drops_negatives = False
        self.out_of_time = False
        self.turns = 0
        """How many runs go on before the next one is held up again; 0 for all."""
        self.after_run: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None

    def run(self, signature: str, inputs: Mapping[str, Array], caller: Caller = PATIENT) -> dict[str, Array]:
        self.seconds.append(caller.seconds_left())
        self.batches.append(inputs["x"].tolist())
        assert self.go_on.wait(30)
        if self.turns:
            self.turns -= 1
            if not self.turns:
                self.go_on.clear()
        self.after_run()
        if self.out_of_time:
            raise DeadlineExceeded("too long")
        if self.drops_negatives:
            return {"y": inputs["x"][inputs["x"] >= 0] * 2}
        if (inputs["x"] < 0).any():
            self.on_failure()
            raise InvalidArgument("negative")
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        self.batches.append([])


class Client(threading.Thread):
    """A request in a thread of its own."""

    def __init__(self, run: Callable[[], dict[str, Array]]) -> None:
        super().__init__()
        self._run = run
        self.result: list[float] = []
        self.error: ServingError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._run()["y"].tolist()
        except ServingError as error:
            self.error = error


@pytest.fixture
def model() -> Doubling:
    return Doubling()


def plans(**limits: Any) -> dict[str, Plan]:
    return {"double": Plan(BatchLimits(**limits)), "other": Plan(None, "it is not pure")}


def meet(model: Doubling, batcher: Batcher, *requests: dict[str, Array], signature: str = "double") -> list[Client]:
    """Let requests arrive, in this order, while the model is busy with one more; then let it go on."""
    model.go_on.clear()
    first = Client(lambda: batcher.run(signature, floats(100)))
    wait_for(lambda: model.batches, "the first request runs")
    callers = [first]
    for number, request in enumerate(requests, start=1):
        callers.append(Client(lambda request=request: batcher.run(signature, request)))
        wait_for(
            lambda number=number: (
                batcher.waiting == number or len(model.batches) > number or not callers[-1].is_alive()
            ),
            "the request waits, runs or is refused",
        )
    model.go_on.set()
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()
    return callers


class TestBatcher:
    def batcher(self, model: Doubling, **limits: Any) -> Batcher:
        return Batcher(model, plans(**limits), "m")

    def test_a_request_to_an_idle_model_runs_alone_at_once(self, model: Doubling) -> None:
        assert self.batcher(model).run("double", floats(1, 2))["y"].tolist() == [2, 4]
        assert model.batches == [[1, 2]]

    def test_requests_that_wait_anyway_run_together(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model), floats(1), floats(2, 3), floats(4))
        assert [caller.result for caller in callers] == [[200], [2], [4, 6], [8]]
        assert model.batches == [[100], [1, 2, 3, 4]]

    def test_a_batch_holds_no_more_rows_than_its_limit(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model, max_rows=3), floats(1), floats(2), floats(3), floats(4))
        assert [caller.result for caller in callers] == [[200], [2], [4], [6], [8]]
        assert model.batches == [[100], [1, 2, 3], [4]]

    def test_a_request_as_large_as_a_batch_does_not_wait(self, model: Doubling) -> None:
        batcher = self.batcher(model, max_rows=2)
        assert batcher.run("double", floats(1, 2, 3))["y"].tolist() == [2, 4, 6]

    def test_other_shapes_wait_for_their_turn(self, model: Doubling) -> None:
        flat, square = floats(1), {"x": np.array([[2.0]], np.float32)}
        callers = meet(model, self.batcher(model), flat, square, flat)
        assert [caller.result for caller in callers] == [[200], [2], [[4]], [2]]
        assert model.batches == [[100], [1, 1], [[2]]]

    def test_a_failing_row_fails_its_own_request_only(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model), floats(1), floats(-1), floats(3))
        assert [caller.result for caller in callers] == [[200], [2], [], [6]]
        assert isinstance(callers[2].error, InvalidArgument)

    def test_requests_of_different_sizes_find_their_places(self, model: Doubling) -> None:
        requests = [floats(*range(30)), floats(*range(40)), floats(*range(20))]
        callers = meet(model, self.batcher(model), *requests)
        assert [len(caller.result) for caller in callers] == [1, 30, 40, 20]
        assert [len(batch) for batch in model.batches] == [1, 50, 40]

    def test_a_model_that_drops_rows_is_not_batched_any_more(self, model: Doubling) -> None:
        model.drops_negatives = True
        batcher = self.batcher(model)
        callers = meet(model, batcher, floats(1), floats(-1), floats(3))
        assert [caller.result for caller in callers] == [[200], [2], [], [6]]
        model.batches.clear()
        meet(model, batcher, floats(1), floats(2))
        assert sorted(model.batches) == [[1], [2], [100]]

    def test_a_batch_out_of_time_is_not_run_again(self, model: Doubling) -> None:
        model.out_of_time = True
        callers = meet(model, self.batcher(model), floats(1), floats(2))
        assert all(isinstance(caller.error, DeadlineExceeded) for caller in callers)
        assert model.batches == [[100], [1, 2]]

    def test_a_full_queue_refuses(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model, max_waiting_rows=3), floats(1), floats(2, 3), floats(4))
        assert [caller.result for caller in callers] == [[200], [2], [4, 6], []]
        assert isinstance(callers[3].error, Unavailable)
        assert "The batch scheduling queue to which this task was submitted is full" in callers[3].error.message

    def test_an_empty_queue_takes_a_request_of_any_size(self, model: Doubling) -> None:
        callers = meet(model, self.batcher(model, max_waiting_rows=1), floats(1, 2))
        assert callers[1].result == [2, 4]

    def test_signatures_that_cannot_be_joined_run_as_they_are(self, model: Doubling) -> None:
        batcher = self.batcher(model)
        model.go_on.clear()
        callers = [Client(lambda: batcher.run("other", floats(1))) for _ in range(3)]
        wait_for(lambda: len(model.batches) == 3, "all three run at once")
        model.go_on.set()
        for caller in callers:
            caller.join(30)
        assert [caller.result for caller in callers] == [[2]] * 3

    def test_every_answer_belongs_to_its_request(self, model: Doubling) -> None:
        batcher = self.batcher(model, max_rows=8)
        wrong: list[float] = []

        def call(start: int) -> None:
            wrong.extend(
                number
                for number in range(start, start + 500)
                if batcher.run("double", floats(number))["y"].tolist() != [2 * number]
            )

        threads = [threading.Thread(target=call, args=(1000 * worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []

    @pytest.mark.parametrize(
        ("computed", "pause", "quick"),
        [
            ((0.011, 0.011, 0.011), 59.0, False),
            ((0.011, 0.011, 0.011), 60.0, True),
            ((0.011, 0.011, 0.009), 1.0, True),
            ((0.009, 0.011, 0.011), 1.0, False),
            ((0.011, 0.009, 0.009, 0.011), 1.0, True),
            ((0.011, 0.011, 0.009, 0.011), 1.0, False),
        ],
    )
    def test_a_quick_model_of_which_two_runs_compute_long_soon_after_a_long_one_is_quick_no_more(
        self, model: Doubling, computed: tuple[float, ...], pause: float, quick: bool
    ) -> None:
        told: list[str] = []
        clock, its_own = FakeClock(), FakeClock()
        batcher = Batcher(model, {}, "m", True, lambda: told.append("slow"), its_own, clock)
        for seconds in computed:
            assert batcher.is_quick

            def run(seconds: float = seconds) -> None:
                clock.pass_by(0.011)
                its_own.pass_by(seconds)

            model.after_run = run
            batcher.run("serving_default", floats(1))
            clock.pass_by(pause)
        assert batcher.is_quick is quick
        assert told == ([] if quick else ["slow"])

    def test_what_is_over_soon_is_not_looked_at(self, model: Doubling) -> None:
        clock, its_own = FakeClock(), FakeClock()
        batcher = Batcher(model, {}, "m", True, computed=its_own, clock=clock)
        model.after_run = lambda: its_own.pass_by(1.0)
        for _ in range(3):
            batcher.run("serving_default", floats(1))
        assert batcher.is_quick

    def test_it_says_how_each_signature_is_batched(self, model: Doubling) -> None:
        model.drops_negatives = True
        batcher = self.batcher(model, max_rows=3, delay_seconds=0.002)
        assert batcher.batching["other"] == {"batched": False, "reason": "it is not pure"}
        says = batcher.batching["double"]
        assert (says["batched"], says["max_rows"], says["delay_ms"]) == (True, 3, 2.0)
        meet(model, batcher, floats(1), floats(-1))
        assert batcher.batching["double"] == {"batched": False, "reason": "its answers are not row by row"}

    def test_closing_closes_the_model(self, model: Doubling) -> None:
        self.batcher(model).close()
        assert model.batches == [[]]


class TestCallersThatGiveUp:
    def batcher(self, model: Doubling, **limits: Any) -> Batcher:
        return Batcher(model, plans(**limits), "m")

    def test_who_has_given_up_before_is_not_computed(self, model: Doubling) -> None:
        batcher = self.batcher(model)
        for signature in ("double", "other"):
            with pytest.raises(Cancelled, match="The caller hung up before the request was computed"):
                batcher.run(signature, floats(1), Caller(gone=True))
            with pytest.raises(DeadlineExceeded, match="Timed out waiting for notification"):
                batcher.run(signature, floats(1), Caller(deadline=time.monotonic()))
        assert model.batches == []

    def test_who_hangs_up_while_waiting_is_not_computed(self, model: Doubling) -> None:
        callers = [Caller() for _ in range(6)]
        clients = self.wait_in_line(model, self.batcher(model), callers)
        for caller in callers[::2]:
            caller.gone = True
        self.go_on(model, clients)
        assert model.batches == [[100], [1, 3, 5]]
        assert [client.result for client in clients[1:]] == [[], [2], [], [6], [], [10]]
        assert all(isinstance(client.error, Cancelled) for client in clients[1::2])

    def test_the_turn_of_one_that_hung_up_goes_to_the_next(self, model: Doubling) -> None:
        callers = [Caller(), Caller()]
        clients = self.wait_in_line(model, self.batcher(model, max_rows=2), callers)
        callers[0].gone = callers[1].gone = True
        self.go_on(model, clients)
        assert model.batches == [[100]]

    def test_who_is_out_of_time_gives_up_its_place(self, model: Doubling) -> None:
        batcher = self.batcher(model)
        clients = self.wait_in_line(model, batcher, [Caller(deadline=time.monotonic() + 0.5)])
        clients[1].join(30)
        assert isinstance(clients[1].error, DeadlineExceeded)
        assert batcher.waiting == 0
        self.go_on(model, clients)
        assert batcher.run("double", floats(2))["y"].tolist() == [4]
        assert model.batches == [[100], [2]]

    def test_who_is_out_of_time_does_not_wait_for_the_batch_that_runs(self, model: Doubling) -> None:
        batcher = self.batcher(model)
        hurried = Caller(deadline=time.monotonic() + 2)
        clients = self.wait_in_line(model, batcher, [Caller(), hurried])
        model.turns = 1
        model.go_on.set()
        wait_for(lambda: model.batches == [[100], [0, 1]], "the batch runs")
        clients[2].join(30)
        assert isinstance(clients[2].error, DeadlineExceeded)
        self.go_on(model, clients)
        assert clients[1].result == [0]

    def test_a_batch_has_as_much_time_as_the_most_patient_of_its_callers(self, model: Doubling) -> None:
        now = time.monotonic()
        callers = [Caller(deadline=now + 100), Caller(deadline=now + 500), Caller(deadline=now + 300)]
        clients = self.wait_in_line(model, self.batcher(model), callers)
        self.go_on(model, clients)
        assert model.batches == [[100], [0, 1, 2]]
        assert 300 < model.seconds[1] <= 500

    def test_those_that_gave_up_make_room_in_a_full_queue(self, model: Doubling) -> None:
        batcher = self.batcher(model, max_waiting_rows=1)
        callers = [Caller()]
        clients = self.wait_in_line(model, batcher, callers)
        callers[0].gone = True
        clients.append(Client(lambda: batcher.run("double", floats(7))))
        clients[1].join(30)
        self.go_on(model, clients)
        assert [client.result for client in clients] == [[200], [], [14]]

    def test_members_of_a_failed_batch_that_gave_up_are_not_run_alone(self, model: Doubling) -> None:
        callers = [Caller(), Caller(), Caller()]
        model.on_failure = lambda: setattr(callers[2], "gone", True)
        clients = self.wait_in_line(model, self.batcher(model), callers, values=(1, -1, 3))
        self.go_on(model, clients)
        assert model.batches == [[100], [1, -1, 3], [1], [-1]]
        assert isinstance(clients[3].error, Cancelled)

    def wait_in_line(
        self, model: Doubling, batcher: Batcher, callers: list[Caller], values: Sequence[float] = range(10)
    ) -> list[Client]:
        """Clients of which the first is computed, until it goes on, while those of the callers wait."""
        model.go_on.clear()
        clients = [Client(lambda: batcher.run("double", floats(100)))]
        wait_for(lambda: model.batches, "the first request runs")
        for number, caller in enumerate(callers):
            run = partial(batcher.run, "double", floats(values[number]), caller)
            clients.append(Client(run))
            wait_for(lambda number=number: batcher.waiting > number, "the request waits")
        return clients

    def go_on(self, model: Doubling, clients: list[Client]) -> None:
        model.go_on.set()
        for client in clients:
            client.join(30)
            assert not client.is_alive()


class TestDelay:
    def test_a_request_to_an_idle_model_waits_until_the_batch_is_full(self, model: Doubling) -> None:
        batcher = Batcher(model, plans(max_rows=3, delay_seconds=60), "m")
        clients = [Client(partial(batcher.run, "double", floats(number))) for number in range(3)]
        for client in clients:
            client.join(30)
        assert [sorted(batch) for batch in model.batches] == [[0, 1, 2]]
        assert [client.result for client in clients] == [[0], [2], [4]]

    def test_it_runs_alone_when_the_delay_is_over(self, model: Doubling) -> None:
        batcher = Batcher(model, plans(max_rows=3, delay_seconds=0.01), "m")
        assert batcher.run("double", floats(1))["y"].tolist() == [2]

    def test_nobody_is_waited_for_longer_than_the_caller_has_time(self, model: Doubling) -> None:
        batcher = Batcher(model, plans(max_rows=3, delay_seconds=60), "m")
        client = Client(partial(batcher.run, "double", floats(1), Caller(deadline=time.monotonic() + 0.05)))
        client.join(30)
        assert isinstance(client.error, DeadlineExceeded)
        assert model.batches == []

    def test_the_delay_counts_from_the_arrival(self, model: Doubling) -> None:
        clock = FakeClock()
        batcher = Batcher(model, plans(max_rows=9, delay_seconds=60), "m", clock=clock)
        model.go_on.clear()
        clients = [Client(partial(batcher.run, "double", floats(*range(rows)))) for rows in (1, 8)]
        wait_for(lambda: model.batches, "the batch is full")
        clients.append(Client(partial(batcher.run, "double", floats(5))))
        wait_for(lambda: batcher.waiting, "another request waits for its turn")
        clock.pass_by(61)
        model.go_on.set()
        for client in clients:
            client.join(30)
            assert not client.is_alive()
        assert [len(batch) for batch in model.batches] == [9, 1]


class Neighbours:
    """Two models that share a processor: the first has just run for long, the other has begun meanwhile."""

    def __init__(self, model: Doubling, signature: str) -> None:
        clock, self.other = FakeClock(), Doubling()
        processors = Processors(1, clock)
        self.batcher, neighbour = (Batcher(its, plans(), "m", processors=processors) for its in (model, self.other))
        self.other.go_on.clear()

        def ask_the_other() -> None:
            model.after_run = lambda: None
            self.client = Client(partial(neighbour.run, signature, floats(7)))
            wait_for(lambda: self.other.batches, "the other runs")
            clock.pass_by(3600)

        model.after_run = ask_the_other
        self.batcher.run(signature, floats(1))

    def end_the_others_run(self) -> None:
        self.other.go_on.set()
        self.client.join(30)
        assert self.client.result == [14]


class TestNeighbours:
    def test_a_model_that_has_just_run_waits_and_those_that_come_meanwhile_join(self, model: Doubling) -> None:
        neighbours = Neighbours(model, "double")
        clients = [Client(partial(neighbours.batcher.run, "double", floats(row))) for row in (2, 3)]
        wait_for(lambda: neighbours.batcher.waiting, "one waits for the other")
        clients[0].join(0.1)
        assert model.batches == [[1]]
        neighbours.end_the_others_run()
        for client in clients:
            client.join(30)
        assert sorted(client.result for client in clients) == [[4], [6]]
        assert len(model.batches) == 2

    def test_so_does_one_whose_requests_run_alone(self, model: Doubling) -> None:
        neighbours = Neighbours(model, "other")
        client = Client(partial(neighbours.batcher.run, "other", floats(2)))
        client.join(0.1)
        assert model.batches == [[1]]
        neighbours.end_the_others_run()
        client.join(30)
        assert client.result == [4]

    @pytest.mark.parametrize("signature", ["double", "other"])
    def test_whose_time_is_over_meanwhile_is_not_run(self, model: Doubling, signature: str) -> None:
        neighbours = Neighbours(model, signature)
        with pytest.raises(DeadlineExceeded):
            neighbours.batcher.run(signature, floats(2), Caller(deadline=time.monotonic() + 0.05))
        neighbours.end_the_others_run()
        assert model.batches == [[1]]


class TestPadding:
    def test_batches_are_padded_to_allowed_sizes(self, model: Doubling) -> None:
        callers = meet(model, Batcher(model, plans(max_rows=8, allowed_sizes=(4, 8)), "m"), floats(1), floats(2))
        assert [caller.result for caller in callers] == [[200], [2], [4]]
        assert model.batches == [[100] * 4, [1, 2, 2, 2]]

    def test_a_failed_batch_is_padded_when_its_members_run_alone(self, model: Doubling) -> None:
        batcher = Batcher(model, plans(max_rows=8, allowed_sizes=(2, 8)), "m")
        callers = meet(model, batcher, floats(1), floats(-1), floats(3))
        assert [caller.result for caller in callers] == [[200], [2], [], [6]]
        assert model.batches[2:] == [[1, 1], [-1, -1], [3, 3]]

    def test_what_a_model_drops_of_a_padded_request_is_found_without_padding(self, model: Doubling) -> None:
        model.drops_negatives = True
        batcher = Batcher(model, plans(max_rows=8, allowed_sizes=(4, 8)), "m")
        assert batcher.run("double", floats(1, -1))["y"].tolist() == [2]
        assert model.batches == [[1, -1, -1, -1], [1, -1]]

    def test_different_lengths_run_together_where_that_is_asked_for(self, model: Doubling) -> None:
        long, short = {"x": np.float32([[1, 2, 3]])}, {"x": np.float32([[4], [5]])}
        callers = meet(model, Batcher(model, plans(pad_lengths=True), "m"), long, short)
        assert model.batches[1:] == [[[1, 2, 3], [4, 4, 4], [5, 4, 4]]]
        assert callers[1].result == [[2, 4, 6]]
        assert callers[2].result == [[8, 8, 8], [10, 8, 8]]


class TestSplitting:
    def test_a_large_request_runs_in_slices(self, model: Doubling) -> None:
        batcher = Batcher(model, plans(max_rows=3, splits=True), "m")
        assert batcher.run("double", floats(*range(8)))["y"].tolist() == list(range(0, 16, 2))
        assert model.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]

    def test_without_splitting_it_runs_whole(self, model: Doubling) -> None:
        Batcher(model, plans(max_rows=3), "m").run("double", floats(*range(8)))
        assert model.batches == [list(range(8))]

    def test_slices_that_do_not_fit_together_are_run_as_the_whole(self, model: Doubling) -> None:
        model.drops_negatives = True
        batcher = Batcher(model, plans(max_rows=3, splits=True), "m")
        assert batcher.run("double", floats(1, -1, 2, 3))["y"].tolist() == [2, 4, 6]
        assert model.batches[-1] == [1, -1, 2, 3]
        assert not batcher.batching["double"]["batched"]

    def test_a_slice_that_fails_fails_the_request(self, model: Doubling) -> None:
        with pytest.raises(InvalidArgument):
            Batcher(model, plans(max_rows=2, splits=True), "m").run("double", floats(1, 2, 3, -1, 5))

    def test_no_more_slices_are_run_for_one_that_hangs_up(self, model: Doubling) -> None:
        caller = Caller()
        model.after_run = lambda: setattr(caller, "gone", len(model.batches) == 2)
        with pytest.raises(Cancelled):
            Batcher(model, plans(max_rows=2, splits=True), "m").run("double", floats(*range(9)), caller)
        assert len(model.batches) == 2


class TestRequestsThatRunAlone:
    def test_so_many_run_at_once_and_the_others_wait(self, model: Doubling) -> None:
        batcher = Batcher(model, {}, "m", runs_at_once=2)
        model.go_on.clear()
        clients = [Client(partial(batcher.run, "other", floats(number))) for number in range(5)]
        wait_for(lambda: len(model.batches) == 2, "two run")
        hurried = Client(lambda: batcher.run("other", floats(9), Caller(deadline=time.monotonic() + 0.05)))
        hurried.join(30)
        assert isinstance(hurried.error, DeadlineExceeded)
        assert len(model.batches) == 2
        model.go_on.set()
        for client in clients:
            client.join(30)
        assert [client.result for client in clients] == [[2.0 * number] for number in range(5)]

    def test_who_has_left_meanwhile_is_not_run(self, model: Doubling) -> None:
        batcher = Batcher(model, {}, "m", runs_at_once=1)
        model.go_on.clear()
        first = Client(lambda: batcher.run("other", floats(1)))
        wait_for(lambda: model.batches, "the first runs")
        caller = Caller()
        second = Client(lambda: batcher.run("other", floats(2), caller))
        caller.gone = True
        model.go_on.set()
        for client in (first, second):
            client.join(30)
        assert isinstance(second.error, Cancelled)
        assert model.batches == [[1]]


@pytest.mark.parametrize(
    ("plans", "in_loop"),
    [
        ({"double": Plan(BatchLimits()), "__saved_model_init_op": Plan(None, "it has no inputs")}, True),
        ({"double": Plan(BatchLimits()), "other": Plan(None, "it is not pure")}, False),
    ],
)
def test_requests_that_wait_for_a_batch_do_so_in_the_event_loop(
    model: Doubling, plans: Mapping[str, Plan], in_loop: bool
) -> None:
    assert Batcher(model, plans, "m").answers_in_loop(1) is in_loop


def test_requests_to_a_quick_model_are_answered_in_the_event_loop(model: Doubling) -> None:
    assert Batcher(model, {}, "m", is_quick=True).answers_in_loop(1)
