"""Plots of a result, as SVG in docs/images: `python -m bench.plots [RESULT.json]`, the newest without a name.

They need matplotlib (bench/requirements.txt).
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from bench.places import IMAGES, RESULTS
from bench.servers import CONSTANT, LIMIT, OURS

Cell: TypeAlias = dict[str, Any]
Lines: TypeAlias = dict[str, list[tuple[float, float]]]

_LINEAR = {"models"}
_SPECIAL: dict[str, dict[str, Any]] = {
    OURS: {"color": "black", "linewidth": 2.5},
    CONSTANT: {"color": "grey", "linestyle": ":"},
}


def draw(document: dict[str, Any]) -> list[str]:
    """Draw what the result has data for, and return the names of the files."""
    cells = [cell for cell in document["cells"] if cell["samples"] and not cell["problem"]]
    closed = [cell for cell in cells if not cell["load"] and cell["server"] != LIMIT]
    tiny = [cell for cell in closed if cell["model"] == "tiny" and cell["encoding"] == "json"]
    wide = [cell for cell in closed if cell["model"] == "wide"]
    one_row = [cell for cell in tiny if cell["rows"] == 1]
    same_clients = [cell for cell in tiny if cell["clients"] == 32]
    drawn = {
        "clients": (_lines(one_row, "clients", _rate), "clients", "requests a second, tiny model"),
        "latency": (_lines(one_row, "clients", _median("p99")), "clients", "p99 in ms, tiny model"),
        "rows": (_lines(same_clients, "rows", _rows_per_second), "rows a request", "rows a second, 32 clients"),
        "payload": (_lines(wide, "rows", _median("cpu")), "numbers a request", "CPU time of a request in ms"),
        "models": (_growth(document["growth"], "MiB"), "models loaded", "memory in MiB"),
    }
    files = [_line_plot(name, *plot) for name, plot in drawn.items() if _has_shape(plot[0])]
    others = [cell for cell in closed if cell["server"] != CONSTANT]
    return files + ([_bars(others)] if others else [])


def _lines(cells: Iterable[Cell], x: str, y: Callable[[Cell], float]) -> Lines:
    lines: Lines = defaultdict(list)
    for cell in cells:
        lines[cell["server"]].append((cell[x], y(cell)))
    return {server: sorted(points) for server, points in lines.items()}


def _growth(rows: list[dict[str, float]], measure: str) -> Lines:
    return {OURS: [(row["models"], row[measure]) for row in rows]}


def _has_shape(lines: Lines) -> bool:
    return any(len(points) > 2 for points in lines.values())


def _rate(cell: Cell) -> float:
    return float(cell["medians"]["per_second"])


def _rows_per_second(cell: Cell) -> float:
    return _rate(cell) * float(cell["rows"])


def _median(measure: str) -> Callable[[Cell], float]:
    return lambda cell: float(cell["medians"][measure])


def _line_plot(name: str, lines: Lines, x: str, y: str) -> str:
    figure, axes = _figure(4)
    for server, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=server, **_SPECIAL.get(server, {}))
    axes.set(xlabel=x, ylabel=y)
    axes.set(**({"xlim": 0, "ylim": 0} if name in _LINEAR else {"xscale": "log", "yscale": "log"}))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _save(figure, name)


def _bars(cells: list[Cell]) -> str:
    """How many requests a second each server answers for one of ours."""
    ours = {cell["work"]: _rate(cell) for cell in cells if cell["server"] == OURS}
    works = [work for work in ours if len([cell for cell in cells if cell["work"] == work]) > 1]
    servers = sorted({cell["server"] for cell in cells} - {OURS})
    rates = {(cell["work"], cell["server"]): _rate(cell) for cell in cells}
    figure, axes = _figure(1 + 0.2 * len(works) * (len(servers) + 1))
    height = 1 / (len(servers) + 1)
    for number, server in enumerate(servers):
        places = [place + number * height for place in range(len(works))]
        axes.barh(places, [rates.get((work, server), 0) / ours[work] for work in works], height, label=server)
    axes.axvline(1, color="black")
    axes.set(xscale="log", xlabel="requests a second, for one of this server")
    axes.set_yticks([place + height * (len(servers) - 1) / 2 for place in range(len(works))], works)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return _save(figure, "servers")


def _figure(height: float) -> tuple[Any, Any]:
    import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "axes.spines.top": False})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, max(2.0, height)), layout="constrained")
    return figure, axes


def _save(figure: Any, name: str) -> str:
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
    return f"docs/images/{name}.svg"


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else max(RESULTS.glob("*.json"))
    print("\n".join(draw(json.loads(file.read_text()))))
