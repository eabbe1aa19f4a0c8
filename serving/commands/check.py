"""`check PATH`: would the server serve this version? Its exit status is the answer, for pipelines."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from serving.commands.output import bytes_text, command, json_option, print_json, print_table, read_settings
from serving.commands.version import VersionPath, find_version
from serving.errors import LoadError
from serving.settings import Settings

LATENCY_RUNS = 200
LATENCY_SECONDS = 2.0
"""A latency is measured over so many runs, or for as long."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: "ok", "note" where it is no reason to refuse, or "failed"."""

    what: str
    state: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """Whether a version is ready to be served, and what was found."""

    version: VersionPath
    findings: list[Finding]

    @property
    def ready(self) -> bool:
        return all(finding.state != "failed" for finding in self.findings)


@command("check", needs_tensorflow=True)
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
@click.pass_context
def check(ctx: click.Context, path: Path, as_json: bool) -> None:
    """Load the version at PATH as the server would, and say whether it is ready: exit status 0 if it is, else 1.

    Checks its files, manifest and operations, runs its warm-up and golden requests, compares a batch with its rows,
    and measures latency and memory. The settings are those of the environment.
    """
    verdict = judge(find_version(path), read_settings())
    if as_json:
        print_json(_document(verdict))
    else:
        _print(verdict)
    ctx.exit(0 if verdict.ready else 1)


def judge(version: VersionPath, settings: Settings) -> Verdict:
    """Load a version, try it, and close it."""
    from serving.models.file_ops import INIT_SIGNATURE
    from serving.models.loader import Loader

    load = Loader(settings)
    memory, started = _resident_bytes(), time.perf_counter()
    try:
        model = load(version.model, version.version, version.path)
    except LoadError as error:
        return Verdict(version, [Finding("load", "failed", str(error))])
    seconds, grown = time.perf_counter() - started, max(0, _resident_bytes() - memory)
    findings = [
        *_checked_at_load(version.path, settings),
        Finding("load", "ok", f"{seconds:.2f} s, {bytes_text(grown)} of memory"),
        *(_batching(name, obstacle) for name, obstacle in model.obstacles.items() if name != INIT_SIGNATURE),
        _latency(model),
    ]
    model.close()
    return Verdict(version, findings)


def _checked_at_load(path: Path, settings: Settings) -> list[Finding]:
    """What a load that succeeded has shown."""
    from serving.models.golden import golden_files
    from serving.models.manifest import MANIFEST, SIGNATURE
    from serving.models.warmup import WARMUP_FILE

    golden = len(golden_files(path))
    return [
        Finding("manifest", "ok", "every file is as it says")
        if (path / MANIFEST).is_file()
        else Finding("manifest", "note", "there is none; `manifest` writes one"),
        _signature((path / SIGNATURE).is_file(), settings.manifest_keys_file),
        Finding("operations", "ok", "all are allowed"),
        Finding("warm-up", "ok", "its requests ran")
        if (path / WARMUP_FILE).is_file()
        else Finding("warm-up", "note", "there are no warm-up requests: the first ones will be slow"),
        _golden(golden, settings.check_golden),
    ]


def _signature(is_there: bool, keys_file: Path | None) -> Finding:
    if keys_file is not None:
        return Finding("signature", "ok", f"the manifest is signed by a key in {keys_file}")
    if is_there:
        return Finding("signature", "note", "not checked: SERVING_MANIFEST_KEYS_FILE is not set")
    return Finding("signature", "note", "the manifest is not signed")


def _golden(count: int, checked: bool) -> Finding:
    if not checked:
        return Finding("golden", "note", f"{count} golden requests not asked: SERVING_CHECK_GOLDEN is false")
    if not count:
        return Finding("golden", "note", "there are no golden requests: its answers were not checked")
    return Finding("golden", "ok", f"{count} answered as expected")


def _batching(name: str, obstacle: str) -> Finding:
    if obstacle:
        return Finding("batching", "note", f"{name} is served unbatched: {obstacle}")
    return Finding("batching", "ok", f"{name}: rows together give what they give alone")


def _latency(model: Any) -> Finding:
    from serving.models.signature import DEFAULT_SIGNATURE
    from serving.models.trial import made_up_rows

    signature = model.signatures.get(DEFAULT_SIGNATURE)
    if signature is None or model.obstacles[DEFAULT_SIGNATURE]:
        return Finding("latency", "note", f"not measured: {DEFAULT_SIGNATURE} cannot be run with made-up rows")
    row = {name: made_up_rows(spec, 1) for name, spec in signature.inputs.items()}
    p50, p99 = measure(lambda: model.run(DEFAULT_SIGNATURE, row))
    return Finding("latency", "ok", f"{DEFAULT_SIGNATURE}, one row: p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms")


def measure(run: Callable[[], Mapping[str, Any]]) -> tuple[float, float]:
    """The median and the 99th percentile of the seconds that a run takes."""
    taken: list[float] = []
    while len(taken) < LATENCY_RUNS and sum(taken) < LATENCY_SECONDS:
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    taken.sort()
    return taken[len(taken) // 2], taken[min(len(taken) - 1, len(taken) * 99 // 100)]


def _resident_bytes() -> int:
    """The memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _document(verdict: Verdict) -> dict[str, Any]:
    its = verdict.version
    return {
        "model": its.model,
        "version": its.version,
        "path": str(its.path),
        "ready": verdict.ready,
        "findings": [asdict(finding) for finding in verdict.findings],
    }


def _print(verdict: Verdict) -> None:
    its = verdict.version
    click.echo(f"{its.model} version {its.version} at {its.path}")
    print_table([(finding.state, finding.what, finding.text) for finding in verdict.findings])
    click.echo("ready" if verdict.ready else "not ready")
