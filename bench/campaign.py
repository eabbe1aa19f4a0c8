"""The order of a run: all servers started, then all work by all servers, over and over, so that a noisy minute of the
machine falls on all of them alike."""

import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import crosscheck, models, servers
from bench.measure import Measurer
from bench.results import Results, Sample
from bench.servers import CONSTANT, LIMIT, OURS, Ended, NotMeasured, Running, Server
from bench.work import TINY_32, Work

Say = Callable[[str], None]


@dataclass(frozen=True)
class Campaign:
    """What to measure. `peers` are the names of servers that do all work that is for peers."""

    works: list[Work]
    servers: list[Server]
    peers: frozenset[str]
    repeats: int
    scratch: Path

    def run(self, measurer: Measurer, results: Results, say: Say) -> None:
        """Start, measure, stop; problems become part of the results."""
        running: dict[str, Running] = {}
        try:
            self._start(running, results, say)
            for repeat in range(self.repeats):
                for number, work in enumerate(self.works):
                    say(f"repeat {repeat + 1} of {self.repeats}, {number + 1} of {len(self.works)}: {work.name}")
                    self._do(work, running, measurer, results)
            if TINY_32 in self.works:
                results.notes += crosscheck.notes(
                    [running[name] for name in (OURS, CONSTANT) if name in running], measurer
                )
        finally:
            for one in running.values():
                one.stop()

    def _start(self, running: dict[str, Running], results: Results, say: Say) -> None:
        names = sorted({work.model.name for work in self.works})
        directory = gather(names, self.scratch / "models")
        wanted = {name for work in self.works for name in self._names(work)}
        known = [server for server in self.servers if server.name in wanted]
        for number, server in enumerate(known):
            say(f"starting {server.name}")
            port = servers.FIRST_PORT + servers.PORTS_EACH * number
            try:
                running[server.name] = _start(server, port, directory, self.scratch / f"server-{number}")
                running[server.name].halt()
                results.started[server.name] = running[server.name].start_seconds
            except (NotMeasured, OSError) as error:
                results.not_measured[server.name] = str(error)

    def _names(self, work: Work) -> list[str]:
        """The servers that do some work, in another order each time."""
        peers = [one.name for one in self.servers if one.name in self.peers and work.encoding in one.dialects]
        names = [*work.servers, *(peers if work.peers else ())]
        return random.sample(names, len(names))

    def _do(self, work: Work, running: dict[str, Running], measurer: Measurer, results: Results) -> None:
        for name in self._names(work):
            cell = results.cell(work, name)
            if cell.problem or (name != LIMIT and name not in running):
                cell.problem = cell.problem or results.not_measured.get(name, "not started")
                continue
            try:
                cell.samples.append(self._sample(work, running.get(name), measurer, results))
            except NotMeasured as error:
                cell.problem = f"{error}{running[name].epitaph() if name in running else ''}"

    def _sample(self, work: Work, running: Running | None, measurer: Measurer, results: Results) -> Sample:
        if running is None:
            return measurer.limit(work)
        if running.server.name == OURS and work.encoding == "binary" and not servers.is_ok(running.port, "/v2"):
            raise NotMeasured("it has no /v2 yet")
        running.resume()
        try:
            return measurer.measure(running, work, _rate(work, results))
        finally:
            running.halt()


def _start(server: Server, port: int, directory: Path, scratch: Path) -> Running:
    """Start a server, a second time if need be: on a busy machine some give up on their own processes."""
    try:
        return servers.start(server, port, directory, scratch)
    except Ended:
        return servers.start(server, port, directory, scratch)


def _rate(work: Work, results: Results) -> float:
    """The arrival rate of an open loop: a part of what our server did in the closed loop of the same work."""
    if not work.load:
        return 0.0
    for other, cells in results.cells.items():
        same = (other.model, other.rows, other.encoding, other.clients)
        if not other.load and same == (work.model, work.rows, work.encoding, work.clients) and OURS in cells:
            samples = cells[OURS].samples
            if samples:
                return samples[0].per_second * work.load
    raise NotMeasured("the same work in a closed loop was not measured")


def gather(names: Iterable[str], directory: Path) -> Path:
    """A directory with just these models."""
    source = models.ensure(list(names))
    directory.mkdir(parents=True)
    for name in names:
        shutil.copytree(source / name, directory / name)
    return directory
