"""`python -m bench`: measure, print a table, write JSON and, when asked, plots."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import footprint, growth, machine, plots, report, servers, work
from bench.campaign import Campaign
from bench.loop import Loops
from bench.measure import Measurer
from bench.peers import PEERS, prepare, version
from bench.places import RESULTS
from bench.results import Results
from bench.servers import NotMeasured


def main() -> int:
    """Measure what the command line asks for."""
    options = _options()
    works = work.chosen(options.quick, options.full, options.only)
    if not works:
        print(f"no work has {options.only!r} in its name; these are all:", file=sys.stderr)
        print("\n".join(one.name for one in work.chosen(False, True, None)), file=sys.stderr)
        return 2
    if servers.is_taken(servers.FIRST_PORT):
        print(
            f"port {servers.FIRST_PORT} is taken, perhaps by another run: two would measure each other", file=sys.stderr
        )
        return 2
    results = Results(machine.describe())
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        try:
            _measure(options, works, Path(scratch), results)
        except KeyboardInterrupt:
            results.notes.append("interrupted: what is here is not all")
        finally:
            print(report.text(results))
            print(f"\nwritten to {_write(results)}")
    if options.plots:
        print("\n".join(plots.draw(results.document())))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the server beside others.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="only what the ratios to reach need; some three minutes")
    size.add_argument("--full", action="store_true", help="every load, and how cost grows; takes longest")
    parser.add_argument(
        "--peers",
        nargs="*",
        metavar="NAME",
        choices=list(PEERS),
        help=f"also {', '.join(PEERS)}, or those named; each is installed once into bench/.envs",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="TEXT",
        help="only the work with this in its name, as `tiny, 32 clients`; may be given more than once",
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement (default 2)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of which the median counts (default 3)")
    parser.add_argument("--plots", action="store_true", help="draw into docs/images; needs bench/requirements.txt")
    return parser.parse_args()


def _measure(options: argparse.Namespace, works: list[work.Work], scratch: Path, results: Results) -> None:
    measured = [servers.ours(), servers.constant(), *servers.handwritten()]
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    if not options.only:
        results.figures = footprint.measure(scratch, options.repeats, say)
    others = _peers(options.peers, results, say)
    names = frozenset(server.name for server in others)
    loops = Loops()
    try:
        campaign = Campaign(works, [*measured, *others], names, options.repeats, scratch)
        measurer = Measurer(loops, options.seconds)
        campaign.run(measurer, results, say)
        if options.full and not options.only:
            results.growth = growth.measure(measurer, scratch, say)
    finally:
        loops.close()


def _peers(names: list[str] | None, results: Results, say: Callable[[str], None]) -> list[servers.Server]:
    """The peers asked for; all of them when `--peers` names none."""
    found = []
    for name in [] if names is None else names or list(PEERS):
        try:
            found.append(prepare(name, say))
            results.machine["versions"][name] = version(name)
        except NotMeasured as error:
            results.not_measured[name] = str(error)
    return found


def _write(results: Results) -> str:
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    file.write_text(json.dumps(results.document(), indent=1) + "\n")
    return f"bench/results/{file.name}"


if __name__ == "__main__":
    sys.exit(main())
