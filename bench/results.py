"""What was measured: samples of every cell, a cell being some work done by some server, and their medians."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.servers import CONSTANT, FLASK, LIMIT, OURS, SYNC
from bench.work import Work

OWN = (OURS, CONSTANT, FLASK, SYNC, LIMIT)
"""Every other server is a peer."""


@dataclass(frozen=True)
class Sample:
    """One measurement. Times are in milliseconds, memory in MiB, shares are of all cores."""

    per_second: float
    p50: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    """CPU time of the server's whole tree for a request."""
    memory: float = 0.0
    generator: float = 0.0
    """Share of the machine that the load generator took."""
    others: float = 0.0
    """Share of the machine that neither the server nor the generator took: noise."""
    offered: float = 0.0
    """Arrival rate of an open loop."""
    missed: int = 0


@dataclass
class Cell:
    """The samples of a piece of work by a server, or why there are none."""

    samples: list[Sample] = field(default_factory=list)
    problem: str = ""

    def median(self, measure: str) -> float:
        return float(median(getattr(sample, measure) for sample in self.samples))

    @property
    def spread(self) -> float:
        """How far the repeats lie apart in requests a second, as a part of their median."""
        rates = [sample.per_second for sample in self.samples]
        return (max(rates) - min(rates)) / median(rates) if rates and median(rates) else 0.0

    @property
    def measured(self) -> bool:
        return bool(self.samples) and not self.problem


@dataclass
class Results:
    """All cells by work and server, and the single figures beside them."""

    machine: dict[str, Any]
    cells: dict[Work, dict[str, Cell]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    """Start-up in seconds and memory in MiB, by what they are of."""
    started: dict[str, float] = field(default_factory=dict)
    """Seconds from start to ready with the models of the run, by server."""
    growth: list[dict[str, float]] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)
    """Why a whole server was not measured."""
    notes: list[str] = field(default_factory=list)

    def cell(self, work: Work, server: str) -> Cell:
        return self.cells.setdefault(work, {}).setdefault(server, Cell())

    def value(self, work: Work, server: str, measure: str = "per_second") -> float | None:
        """A median; None for what was not measured."""
        cell = self.cells.get(work, {}).get(server)
        return cell.median(measure) if cell and cell.measured else None

    def best_peer(self, work: Work) -> tuple[str, float] | None:
        """The peer that answered most requests a second, and how many."""
        peers = [(name, cell.median("per_second")) for name, cell in self._measured(work) if name not in OWN]
        return max(peers, key=lambda peer: peer[1], default=None)

    def _measured(self, work: Work) -> Iterator[tuple[str, Cell]]:
        return ((name, cell) for name, cell in self.cells.get(work, {}).items() if cell.measured)

    def spread(self) -> float:
        """The median spread of all cells."""
        spreads = [cell.spread for cells in self.cells.values() for cell in cells.values() if len(cell.samples) > 1]
        return median(spreads) if spreads else 0.0

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        cells = [
            {
                "work": work.name,
                "model": work.model.name,
                "clients": work.clients,
                "rows": work.rows,
                "encoding": work.encoding,
                "load": work.load,
                "server": server,
                "problem": cell.problem,
                "spread": cell.spread,
                "medians": {name: cell.median(name) for name in Sample.__dataclass_fields__} if cell.samples else {},
                "samples": [asdict(sample) for sample in cell.samples],
            }
            for work, by_server in self.cells.items()
            for server, cell in by_server.items()
        ]
        return {
            "machine": self.machine,
            "spread": self.spread(),
            "figures": self.figures,
            "started": self.started,
            "growth": self.growth,
            "not_measured": self.not_measured,
            "notes": self.notes,
            "cells": cells,
        }
