"""How commands speak: text for people or one JSON document, and errors of one line."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from serving.errors import LoadError, ServingError
from serving.settings import Settings

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
"""Gives a command the argument `as_json`."""


class PlainCommand(click.Command):
    """A command whose errors are one line each, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ServingError, LoadError) as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(place + (error.strerror or str(error))) from None


class TensorFlowCommand(PlainCommand):
    """A command that runs models."""

    def invoke(self, ctx: click.Context) -> Any:
        from serving.models import runtime  # noqa: F401  # before what imports TensorFlow with its noise

        return super().invoke(ctx)


def command(name: str, needs_tensorflow: bool = False) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command of that name."""
    return click.command(name, cls=TensorFlowCommand if needs_tensorflow else PlainCommand)


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns, the last of which may be long."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def bytes_text(count: int) -> str:
    """A number of bytes for people: 227 kB."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def read_settings() -> Settings:
    """The settings of the environment; a SettingsError is printed as one line."""
    return Settings.from_environ()
