"""What is measured: rows of work, as data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from bench import models
from bench.models import Model
from bench.servers import CONSTANT, FLASK, LIMIT, OURS, SYNC

_LOCAL = (OURS, CONSTANT, FLASK, SYNC, LIMIT)


@dataclass(frozen=True)
class Work:
    """Clients that ask a model for so many rows at once. With a `load`, an open loop: that part of what the server of
    this project managed in the closed loop."""

    model: Model
    clients: int
    rows: int = 1
    encoding: str = "json"
    load: float = 0.0
    servers: tuple[str, ...] = field(default=_LOCAL, compare=False)
    peers: bool = field(default=True, compare=False)

    @property
    def name(self) -> str:
        """As in `tiny, 32 clients, 1 row, json`."""
        parts = [
            self.model.name,
            f"{self.clients} client{'s' * (self.clients != 1)}",
            f"{self.rows} {self.model.unit}{'s' * (self.rows != 1)}",
            self.encoding,
        ]
        return ", ".join([*parts, f"open loop at {self.load:.0%}"] if self.load else parts)


TINY_1 = Work(models.TINY, 1)
TINY_32 = Work(models.TINY, 32)
CONV_16 = Work(models.CONV, 16)
CONV_4X32 = Work(models.CONV, 4, 32)
CONV_BINARY = Work(models.CONV, 16, encoding="binary", servers=(OURS, CONSTANT, LIMIT))
TABLE_1000 = Work(models.TABLE, 4, 1000)

_RATIOS = (TINY_1, TINY_32, CONV_16, CONV_4X32, CONV_BINARY, TABLE_1000)

QUICK = (
    replace(TINY_1, servers=(OURS, CONSTANT)),
    replace(TINY_32, servers=(OURS, CONSTANT, FLASK)),
    replace(CONV_16, servers=(OURS, FLASK)),
    replace(CONV_4X32, servers=(OURS, FLASK)),
    replace(CONV_BINARY, servers=(OURS, LIMIT)),
    replace(TABLE_1000, servers=(OURS, FLASK)),
)
"""What the ratios to reach need, and no more."""

USUAL = (
    *_RATIOS,
    Work(models.TINY, 16),
    Work(models.TINY, 128),
    Work(models.TINY, 32, 32),
    Work(models.TINY, 32, 256),
    Work(models.CONV, 1),
    Work(models.CONV, 16, encoding="gzip", servers=(OURS, CONSTANT), peers=False),
    Work(models.TABLE, 32),
    Work(models.TABLE, 16, 32),
    Work(models.STRINGS, 32),
    Work(models.STRINGS, 16, 256),
    Work(models.LARGE, 4),
    Work(models.TINY, 32, load=0.3, servers=(OURS, CONSTANT, FLASK, SYNC)),
    Work(models.TINY, 32, load=0.7, servers=(OURS, CONSTANT, FLASK, SYNC)),
    Work(models.CONV, 16, load=0.5, servers=(OURS, CONSTANT, FLASK, SYNC)),
)

_PAYLOADS = (80, 800, 8_000, 80_000, 800_000, 1_300_000)  # numbers of some 12 bytes: 1 kB to 16 MB

FULL = (
    *USUAL,
    *(Work(model, clients) for model in (models.CONV, models.TABLE, models.STRINGS) for clients in (1, 16, 32, 128)),
    *(Work(models.TINY, 16, rows) for rows in (1, 32, 256)),
    *(Work(models.TABLE, 16, rows) for rows in (1, 256)),
    Work(models.LARGE, 1),
    Work(models.LARGE, 16),
    Work(models.LARGE, 4, encoding="binary", servers=(OURS, CONSTANT, LIMIT)),
    Work(models.TINY, 32, encoding="binary", servers=(OURS, CONSTANT)),
    Work(models.TABLE, 4, 1000, "gzip", servers=(OURS, CONSTANT), peers=False),
    *(Work(models.WIDE, 4, numbers, servers=(OURS, CONSTANT, FLASK, SYNC), peers=False) for numbers in _PAYLOADS),
)


def chosen(quick: bool, full: bool, only: Sequence[str] | None) -> list[Work]:
    """The work that was asked for, each once; `only` are parts of names, looked for everywhere."""
    every: Iterable[Work] = FULL if full or only else QUICK if quick else USUAL
    unique = dict.fromkeys(every)
    return [work for work in unique if not only or any(part in work.name for part in only)]
