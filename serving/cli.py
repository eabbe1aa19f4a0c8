"""The command line: `python -m serving COMMAND`."""

import os
import sys
from pathlib import Path

import click

from serving.cli_keys import keys
from serving.errors import SettingsError
from serving.settings import Settings


@click.group()
def main() -> None:
    """Serve TensorFlow SavedModels over REST."""


main.add_command(keys)


@main.command()
def serve() -> None:
    """Check the settings and become gunicorn, which serves the models."""
    _settings()  # first, since gunicorn reads WEB_CONCURRENCY before it reads our configuration
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    os.execv(gunicorn, [gunicorn, "wsgi:app"])


@main.command()
def settings() -> None:
    """Print every setting with its value, default and meaning."""
    rows = _settings().rows()
    rows.insert(0, ("NAME", "VALUE", "DEFAULT", "MEANING"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, value, default, meaning in rows:
        click.echo(f"{name:{widths[0]}}  {value:{widths[1]}}  {default:{widths[2]}}  {meaning}")


def _settings() -> Settings:
    try:
        return Settings.from_environ()
    except SettingsError as error:
        raise click.ClickException(error.message) from None
