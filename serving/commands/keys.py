"""`python -m serving keys`: make, list and revoke what callers show."""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from serving.access.grants import Grant, Right
from serving.access.keys import NAME, Entry, KeyRing, Kind, digest, make_key, read_keys, write_keys
from serving.access.limits import Limit
from serving.commands.output import json_option, print_json, print_table
from serving.errors import SettingsError
from serving.settings import Settings, environ_name

_DURATION = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@click.group()
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="instead of SERVING_KEYS_FILE")
@click.pass_context
def keys(context: click.Context, path: Path | None) -> None:
    """Make, list and revoke keys, and grants for client certificates and the roles of tokens."""
    context.obj = path or _configured_path()


def _names(known: Callable[[str], Any]) -> Callable[[Any, Any, str | None], tuple[Any, ...]]:
    """The texts of a comma-separated option, each as what it is known as."""

    def parse(context: Any, option: Any, text: str | None) -> tuple[Any, ...]:
        try:
            return tuple(known(part.strip()) for part in (text or "").split(",") if part.strip())
        except ValueError as error:
            raise click.BadParameter(f"{error}; known are {', '.join(Right)}") from None

    return parse


def _expiry(context: Any, option: Any, text: str | None) -> datetime | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter("give a number of hours, days or weeks: 12h, 90d, 52w")
    return _now() + timedelta(**{_UNITS[match[2]]: int(match[1])})


def _name(context: Any, argument: Any, text: str) -> str:
    if not NAME.fullmatch(text):
        raise click.BadParameter("a name is up to 64 letters, digits, - and _")
    return text


@keys.command()
@click.argument("name", callback=_name)
@click.option("--models", callback=_names(str), help="names or patterns such as 'fraud-*', with commas between them")
@click.option("--may", required=True, callback=_names(Right), help=f"rights with commas: {', '.join(Right)}")
@click.option("--expires", callback=_expiry, help="after so many hours, days or weeks: 12h, 90d, 52w; else never")
@click.option("--rate", type=click.FloatRange(1e-6, 1e6), help="requests a second, over all workers")
@click.option("--burst", type=click.IntRange(1, 1_000_000), help="requests at once; else those of a second")
@click.option("--concurrent", type=click.IntRange(1, 1_000_000), help="requests in hand at a time, over all workers")
@click.option("--certificate", help="grant it to client certificates of this name; no key is made")
@click.option("--role", help="grant it to tokens with this role; no key is made")
@json_option
@click.pass_obj
def create(
    path: Path,
    name: str,
    models: tuple[str, ...],
    may: tuple[Right, ...],
    expires: datetime | None,
    rate: float | None,
    burst: int | None,
    concurrent: int | None,
    certificate: str | None,
    role: str | None,
    as_json: bool,
) -> None:
    """Make the key NAME and print it, this once; only its SHA-256 is kept."""
    if not may:
        raise click.UsageError("say which rights with --may")
    if not models and set(may) != {Right.METRICS}:
        raise click.UsageError("say which models with --models; '*' is all of them")
    if certificate and role:
        raise click.UsageError("an entry is for a certificate or for a role, not for both")
    key = None if certificate or role else make_key(name)
    kind, mark = _kind_and_mark(key, certificate, role)
    grant = Grant(name, models or ("*",), frozenset(may), Limit(rate, burst, concurrent))
    entry = Entry(kind, mark, grant, _now(), expires)
    with _editing(path) as entries:
        if name in entries:
            raise click.ClickException(f"{path} has an entry {name!r}; revoke it first, or choose another name")
        entries[name] = entry
    if as_json:
        print_json(_document(entry) | ({} if key is None else {"key": key}))
    elif key is not None:
        click.echo("Keep this key; it cannot be shown again:", err=True)
        click.echo(key)


@keys.command("list")
@json_option
@click.pass_obj
def list_entries(path: Path, as_json: bool) -> None:
    """Print what is granted to whom; keys themselves are not kept."""
    if as_json:
        print_json({"entries": [_document(entry) for entry in _read(path).entries.values()]})
        return
    heading = ("NAME", "SHOWS", "MODELS", "MAY", "LIMITS", "CREATED", "EXPIRES")
    print_table([heading, *(_row(entry) for entry in _read(path).entries.values())])


@keys.command()
@click.argument("name")
@json_option
@click.pass_obj
def revoke(path: Path, name: str, as_json: bool) -> None:
    """Remove the entry NAME; running servers follow within a second."""
    with _editing(path) as entries:
        if name not in entries:
            raise click.ClickException(f"{path} has no entry {name!r}")
        del entries[name]
    if as_json:
        print_json({"revoked": name})


def _kind_and_mark(key: str | None, certificate: str | None, role: str | None) -> tuple[Kind, str]:
    if key is not None:
        return "sha256", digest(key).hex()
    return ("certificate", certificate) if certificate else ("role", role or "")


def _document(entry: Entry) -> dict[str, Any]:
    grant, limit = entry.grant, entry.grant.limit
    return {
        "name": entry.name,
        "shows": entry.kind if entry.kind != "sha256" else "key",
        "mark": None if entry.kind == "sha256" else entry.mark,
        "models": list(grant.models),
        "may": [right for right in Right if right in grant.may],
        "requests_per_second": limit.requests_per_second,
        "burst": limit.burst,
        "concurrent": limit.concurrent,
        "created": entry.created.isoformat(),
        "expires": None if entry.expires is None else entry.expires.isoformat(),
        "holds": entry.holds(_now()),
    }


def _row(entry: Entry) -> tuple[str, ...]:
    grant, limit = entry.grant, entry.grant.limit
    limits = (
        (limit.requests_per_second, "{:g}/s"),
        (limit.burst, "burst {}"),
        (limit.concurrent, "{} at a time"),
    )
    return (
        entry.name,
        "key" if entry.kind == "sha256" else f"{entry.kind} {entry.mark}",
        ",".join(grant.models),
        ",".join(right for right in Right if right in grant.may),
        ", ".join(form.format(value) for value, form in limits if value is not None) or "-",
        f"{entry.created:%Y-%m-%d}",
        "never" if entry.expires is None else f"{entry.expires:%Y-%m-%d %H:%M}" + _expired(entry),
    )


def _expired(entry: Entry) -> str:
    return "" if entry.holds(_now()) else " (expired)"


@contextmanager
def _editing(path: Path) -> Iterator[dict[str, Entry]]:
    """The entries of the file, which is replaced by what they are at the end; one at a time."""
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise click.ClickException(f"{path.parent}: cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        entries = dict(_read(path).entries) if path.exists() else {}
        yield entries
        _replace(path, write_keys(entries.values()))
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        os.close(directory)


def _replace(path: Path, text: str) -> None:
    """Put a new file in the place of the old one, whole, with the same owner."""
    target = path.resolve()
    file, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")  # readable by its owner only
    try:
        with os.fdopen(file, "w") as opened:
            opened.write(text)
            if target.exists() and os.geteuid() == 0:
                os.fchown(opened.fileno(), target.stat().st_uid, target.stat().st_gid)
        Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _read(path: Path) -> KeyRing:
    try:
        return read_keys(path)
    except SettingsError as error:
        raise click.ClickException(error.message) from None


def _configured_path() -> Path:
    try:
        path = Settings.from_environ().keys_file
    except SettingsError as error:
        raise click.ClickException(error.message) from None
    if path is None:
        raise click.ClickException(f"say where the keys are: set {environ_name('keys_file')}, or give --file")
    return path


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
