"""The results as text: what each server did with each work, and the ratios to reach."""

from collections.abc import Sequence

from bench.loop import CORES
from bench.results import Cell, Results
from bench.servers import OURS
from bench.targets import TARGETS, against_peers
from bench.work import Work

_COLUMNS = ("", "req/s", "spread", "p50 ms", "p99 ms", "CPU ms/req", "MiB", "generator", "others", "ours is", "", "")


def text(results: Results) -> str:
    """Everything, for a terminal."""
    parts = [_machine(results)]
    parts += [f"{work.name}\n{_work(results, work)}" for work in results.cells]
    if results.growth:
        parts.append("models loaded\n" + _growth(results))
    if results.not_measured:
        parts.append("not measured\n" + "\n".join(f"  {name}: {why}" for name, why in results.not_measured.items()))
    if results.started:
        times = (f"{name} {seconds:.1f} s" for name, seconds in results.started.items())
        parts.append("ready after start, with all models of this run: " + ", ".join(times))
    if results.figures:
        parts.append("\n".join(f"{name}: {value:.2f}" for name, value in results.figures.items()))
    if results.notes:
        parts.append("\n".join(results.notes))
    parts.append("the ratios to reach\n" + ratios(results))
    return "\n\n".join(parts)


def _machine(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}\n"
        f"Python {machine['python']}, {versions}\n"
        f"load before {machine['load_before']:.2f}; repeats lie {results.spread():.0%} apart (median of all cells)"
    )


def _work(results: Results, work: Work) -> str:
    ours = None if work.load else results.value(work, OURS)
    rows = [_row(name, cell, ours) for name, cell in results.cells[work].items()]
    return table([_COLUMNS, *sorted(rows, key=lambda row: row[0] != OURS)])


def _row(name: str, cell: Cell, ours: float | None) -> tuple[str, ...]:
    if not cell.measured:
        return (name, f"not measured: {cell.problem}")
    rate = cell.median("per_second")
    missed = sum(sample.missed for sample in cell.samples)
    return (
        name,
        f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}",
        f"{cell.spread:.0%}",
        *(f"{cell.median(measure):.2f}" for measure in ("p50", "p99", "cpu")),
        f"{cell.median('memory'):.0f}",
        *(f"{cell.median(measure):.0%}" for measure in ("generator", "others")),
        f"{ours / rate:.2f}x" if ours and rate else "",
        f"{missed} of the requests missed" if missed else "",
        "THE GENERATOR WAS THE LIMIT" if cell.median("generator") * CORES > 0.9 else "",
    )


def _growth(results: Results) -> str:
    names = list(results.growth[0])
    return table([names, *([f"{row[name]:.1f}" for name in names] for row in results.growth)])


def ratios(results: Results) -> str:
    """The table of the ratios to reach, then each work beside the best peer."""
    rows = [("work", "against", "measured", "reach", "")]
    for target in TARGETS:
        value = target.measure(results)
        shown = "not measured" if value is None else f"{value:.2f}{target.unit}"
        verdict = "" if value is None else "met" if target.met(value) else "NOT MET"
        rows.append((target.work, target.against, shown, target.reach_text, verdict))
    rows += [
        (work.name, f"best peer: {peer}", f"{ratio:.2f}x", ">= 1.3x", "met" if ratio >= 1.3 else "NOT MET")
        for work, peer, ratio in against_peers(results)
    ]
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns; the first one to the left, numbers to the right."""
    full = [row for row in rows if len(row) > 2]
    widths = [max(len(row[column]) for row in full if column < len(row)) for column in range(max(map(len, full)))]
    return "\n".join("  " + _line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width) for cell, width in zip(row, widths, strict=False)
    )
    return "  ".join(cells).rstrip()
