"""The ratios to reach: each says what is measured against what, and judges the results."""

from collections.abc import Callable
from dataclasses import dataclass

from bench import footprint
from bench.results import Results
from bench.servers import CONSTANT, FLASK, LIMIT, OURS
from bench.work import CONV_4X32, CONV_16, CONV_BINARY, TINY_1, TINY_32, Work


@dataclass(frozen=True)
class Target:
    """A figure to reach: at least, or with `at_most` at most."""

    work: str
    against: str
    reach: float
    measure: Callable[[Results], float | None]
    at_most: bool = False
    unit: str = "x"

    def met(self, value: float) -> bool:
        return value <= self.reach if self.at_most else value >= self.reach

    @property
    def reach_text(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.reach:g}{self.unit}"


def _ratio(work: Work, server: str, measure: str = "per_second") -> Callable[[Results], float | None]:
    def of(results: Results) -> float | None:
        ours, other = results.value(work, OURS, measure), results.value(work, server, measure)
        return ours / other if ours and other else None

    return of


def _of_limit(results: Results) -> float | None:
    """Our part of what the model alone would do on what the load generator has left of the machine."""
    ours, limit = results.value(CONV_BINARY, OURS), results.value(CONV_BINARY, LIMIT)
    generator = results.value(CONV_BINARY, OURS, "generator")
    return None if ours is None or limit is None or generator is None else ours / (limit * (1 - generator))


def _difference(one: str, other: str) -> Callable[[Results], float | None]:
    def of(results: Results) -> float | None:
        figures = results.figures
        return figures[one] - figures[other] if one in figures and other in figures else None

    return of


def against_peers(results: Results) -> list[tuple[Work, str, float]]:
    """For each work that a peer did: the best peer, and our ratio to it."""
    rows = []
    for work in results.cells:
        best, ours = results.best_peer(work), results.value(work, OURS)
        if best and best[1] and ours and not work.load:
            rows.append((work, best[0], ours / best[1]))
    return rows


def _worst_against_peers(results: Results) -> float | None:
    return min((ratio for _, _, ratio in against_peers(results)), default=None)


TARGETS = (
    Target("tiny, 32 clients, one row", "constant of Flask, same worker class", 0.80, _ratio(TINY_32, CONSTANT)),
    Target("tiny, 32 clients, one row", "hand-written service, flask run", 5, _ratio(TINY_32, FLASK)),
    Target("conv, 16 clients, one image as JSON", "hand-written service, flask run", 10, _ratio(CONV_16, FLASK)),
    Target("conv, 4 clients, 32 images as JSON", "hand-written service, flask run", 20, _ratio(CONV_4X32, FLASK)),
    Target("conv, 16 clients, one image as binary", "the model in a loop, less the generator's share", 0.85, _of_limit),
    Target("tiny, one client: p50", "constant of Flask, same worker class", 1.3, _ratio(TINY_1, CONSTANT, "p50"), True),
    Target("every row, the worst", "the best peer", 1.3, _worst_against_peers),
    Target(
        "memory of a worker, no model",
        "import tensorflow",
        40,
        _difference(footprint.WORKER, footprint.BARE_WORKER),
        True,
        " MiB more",
    ),
    Target(
        "ready after start",
        "import + load",
        0.5,
        _difference(footprint.READY, footprint.BARE_READY),
        True,
        " s more",
    ),
)
