"""`bench URL`: how many requests a second a served model answers, and how fast.

A quick look from one Python process, which takes cores from the server and has a ceiling of its own; for figures to
publish, `python -m bench` in the source tree drives several processes.
"""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click

from serving.commands.output import command, json_option, print_json
from serving.commands.remote import (
    JSON,
    MEDIA_TYPES,
    ModelUrl,
    key_option,
    parse_url,
    predict,
    read_key,
    signature_of,
)
from serving.errors import ServingError
from serving.tensors.spec import DTYPES, Kind

_ZEROS = {Kind.DECIMAL: 0.0, Kind.INTEGER: 0, Kind.BOOLEAN: False, Kind.STRING: ""}


@dataclass
class Tally:
    """What one client saw: the seconds that each answer took, and the errors by their text."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


@command("bench")
@click.argument("url")
@click.option("--clients", type=click.IntRange(1), default=4, show_default=True, help="Connections at once.")
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="How long.")
@click.option(
    "--body", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The body of a predict request: JSON, or .npy, .csv, .png, .jpg; without it a row of zeros.",
)  # fmt: skip
@key_option
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    url: str,
    clients: int,
    seconds: float,
    body: Path | None,
    key_file: IO[str] | None,
    as_json: bool,
) -> None:
    """Ask the served model at URL the same over and over; print requests a second, p50 and p99.

    Exit status 1 when a request failed.
    """
    target = parse_url(url, read_key(key_file))
    content = body.read_bytes() if body else json.dumps(zero_row(target)).encode()
    media_type = MEDIA_TYPES.get(body.suffix.lower(), JSON) if body else JSON
    with closing(target.connect()) as connection:
        predict(target, connection, content, media_type)  # an error is told once, before the load
    started = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        tallies = list(pool.map(lambda _: _ask_until(target, content, media_type, started + seconds), range(clients)))
    result = summary(tallies, time.monotonic() - started)
    if as_json:
        print_json(result)
    else:
        _print(result)
    ctx.exit(1 if result["errors"] else 0)


def _ask_until(url: ModelUrl, body: bytes, media_type: str, end: float) -> Tally:
    """Ask once at least, and until the clock shows `end`."""
    tally = Tally()
    with closing(url.connect()) as connection:
        while True:
            started = time.monotonic()
            try:
                predict(url, connection, body, media_type)
            except ServingError as error:
                tally.errors[error.message] += 1
                connection.close()  # it is opened anew by the next request
            else:
                tally.seconds.append(time.monotonic() - started)
            if time.monotonic() >= end:
                return tally


def summary(tallies: list[Tally], seconds: float) -> dict[str, Any]:
    """The tallies of all clients as one: times are milliseconds, None where nothing was answered."""
    taken = sorted(second for tally in tallies for second in tally.seconds)
    errors = sum((tally.errors for tally in tallies), Counter())
    return {
        "requests": len(taken),
        "seconds": round(seconds, 2),
        "requests_per_second": round(len(taken) / seconds, 1),
        "p50_ms": _percentile(taken, 50),
        "p99_ms": _percentile(taken, 99),
        "errors": dict(errors.most_common(5)),
    }


def _percentile(taken: list[float], percent: int) -> float | None:
    return round(taken[min(len(taken) - 1, len(taken) * percent // 100)] * 1000, 3) if taken else None


def zero_row(url: ModelUrl) -> dict[str, Any]:
    """A request with one row of zeros, made from the model's metadata."""
    with closing(url.connect()) as connection:
        inputs = signature_of(url, connection, "")["inputs"]
    return {"inputs": {name: _zeros(spec) for name, spec in inputs.items()}}


def _zeros(spec: Any) -> Any:
    kind = DTYPES[spec["dtype"]].kind if spec["dtype"] in DTYPES else Kind.DECIMAL
    value: Any = _ZEROS[kind]
    sizes = [max(1, int(size["size"])) for size in spec["tensor_shape"]["dim"]]
    for size in reversed(sizes):
        value = [value] * size
    return value


def _print(result: dict[str, Any]) -> None:
    click.echo(f"{result['requests']} requests in {result['seconds']} s: {result['requests_per_second']} a second")
    if result["requests"]:
        click.echo(f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms")
    for text, count in result["errors"].items():
        click.echo(f"{count} failed: {text}")
