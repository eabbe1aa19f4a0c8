"""One measurement: some work by a running server, its answers checked, the tree of its processes watched."""

import time
from collections.abc import Sequence
from functools import lru_cache

from bench import load, processes
from bench.dialects import decode, differs
from bench.load import Job, Outcome
from bench.loop import CORES, Loops
from bench.models import Array, Inputs
from bench.processes import MEBI
from bench.results import Sample
from bench.servers import NotMeasured, Running
from bench.work import Work

MAX_REQUESTS = 16
MAX_BYTES = 64 * MEBI


class Measurer:
    """Measures work; knows the right answers from calling the models directly."""

    def __init__(self, loops: Loops, seconds: float) -> None:
        self._loops = loops
        self._seconds = seconds
        self._expected = lru_cache(maxsize=512)(self._answer)
        self._warm: set[tuple[Work, int]] = set()

    def measure(self, running: Running, work: Work, rate: float = 0.0, names: Sequence[str] = ()) -> Sample:
        """One sample, in an open loop when there is a rate; NotMeasured for failures and answers that are not right.

        `names` are of models, copies of the work's, that the requests go to in turn.
        """
        requests = self._requests(running, work, names or [work.model.name])
        if (work, running.process.pid) not in self._warm:
            warm_up = Job(running.port, requests, work.clients, min(1.0, self._seconds / 2), 0.0, len(requests))
            self._check(running, work, load.run(warm_up))
            self._warm.add((work, running.process.pid))
        job = Job(running.port, requests, work.clients, self._seconds, rate, 2 * work.clients)
        with processes.MemoryPeak(running.process.pid) as peak:
            outcome, took, server_cpu, machine_cpu = _watched(running, job)
        self._check(running, work, outcome)
        return Sample(
            per_second=outcome.answered / outcome.seconds,
            p50=outcome.p50,
            p99=outcome.p99,
            cpu=1000 * server_cpu / outcome.total,
            memory=peak.bytes / MEBI,
            generator=outcome.cpu_seconds / (took * CORES),
            others=max(0.0, machine_cpu - server_cpu - outcome.cpu_seconds) / (took * CORES),
            offered=rate,
            missed=outcome.missed,
        )

    def limit(self, work: Work) -> Sample:
        """How much of the work the model alone would do."""
        inputs = work.model.inputs(1, 0)
        rows, cpu = self._loops.rows_per_second(work.model.name, inputs, self._seconds)
        return Sample(per_second=rows / work.rows, cpu=1000 * cpu * work.rows)

    def _requests(self, running: Running, work: Work, names: Sequence[str]) -> list[bytes]:
        """Requests that all differ, as many as fit."""
        encode = running.server.dialects[work.encoding].encode
        size = len(encode(names[0], _inputs(work, 0)).bytes())
        count = max(1, len(names), min(MAX_REQUESTS, work.clients, MAX_BYTES // size))
        return [encode(names[number % len(names)], _inputs(work, number)).bytes() for number in range(count)]

    def generated(self, running: Running, work: Work) -> tuple[bytes, float]:
        """One request of some work, and the requests a second that the generator sees when it sends only that."""
        request = self._requests(running, work, [work.model.name])[:1]
        outcome = load.run(Job(running.port, request, work.clients, self._seconds))
        return request[0], outcome.answered / outcome.seconds

    def _check(self, running: Running, work: Work, outcome: Outcome) -> None:
        if outcome.failures:
            reason, count = outcome.failures.most_common(1)[0]
            raise NotMeasured(f"{count} requests failed: {reason}")
        if not outcome.total:
            raise NotMeasured("no request was answered in time")
        if not running.server.answers:
            return
        for number, answer in outcome.answers.items():
            try:
                got = decode(running.server.dialects[work.encoding], answer)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise NotMeasured(f"an answer cannot be read ({error!r}): {answer[-200:]!r}") from error
            if difference := differs(got, self._expected(work, number)):
                raise NotMeasured(f"its answers are not those of the model: {difference}")

    def _answer(self, work: Work, number: int) -> Array:
        return self._loops.answer(work.model.name, _inputs(work, number))


def _inputs(work: Work, number: int) -> Inputs:
    return work.model.inputs(work.rows, number)


def _watched(running: Running, job: Job) -> tuple[Outcome, float, float, float]:
    """Run a job: what came of it, seconds it took, CPU seconds of the server's tree and of the whole machine."""
    tree = processes.tree(running.process.pid)
    server, machine, began = processes.cpu_seconds(tree), processes.machine_cpu_seconds(), time.perf_counter()
    outcome = load.run(job)
    took = time.perf_counter() - began
    tree |= processes.tree(running.process.pid)
    return outcome, took, processes.cpu_seconds(tree) - server, processes.machine_cpu_seconds() - machine
