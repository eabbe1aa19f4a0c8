"""Whether memory grows: what a process has for itself over time, and how steep that is."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import theilslopes

WARM_UP = 1 / 3
"""The part of the time that is left out: caches fill, allocators take what they will keep."""
WINDOW = 5
"""So many samples become one, their median: what a request has in hand for a moment does not count."""


class Growth(NamedTuple):
    """Percent of what there is after the warm-up, an hour, with the bounds within which it lies 95 times of 100."""

    percent_per_hour: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.percent_per_hour:+.1f} % an hour ({self.low:+.1f} to {self.high:+.1f})"


def own_bytes(pid: int) -> int:
    """The memory of a process that belongs to no file."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def growth(samples: Sequence[tuple[float, int]]) -> Growth:
    """The growth of (seconds, bytes): the median of the slopes between all pairs of windows after the warm-up."""
    begin = samples[0][0] + WARM_UP * (samples[-1][0] - samples[0][0])
    warm = [sample for sample in samples if sample[0] >= begin]
    windows = [warm[start : start + WINDOW] for start in range(0, len(warm) - WINDOW + 1, WINDOW)]
    hours = [statistics.mean(seconds for seconds, _ in window) / 3600 for window in windows]
    sizes = [statistics.median(size for _, size in window) for window in windows]
    slope, _, low, high = theilslopes(sizes, hours)
    percent = sizes[0] / 100
    return Growth(float(slope / percent), float(low / percent), float(high / percent))
