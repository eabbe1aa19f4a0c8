"""The command line: `python -m serving COMMAND`."""

import click

from serving.errors import SettingsError
from serving.settings import Settings


@click.group()
def main() -> None:
    """Serve TensorFlow SavedModels over REST."""


@main.command()
def settings() -> None:
    """Print every setting with its value, default and meaning."""
    try:
        rows = Settings.from_environ().rows()
    except SettingsError as error:
        raise click.ClickException(error.message) from None
    rows.insert(0, ("NAME", "VALUE", "DEFAULT", "MEANING"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, value, default, meaning in rows:
        click.echo(f"{name:{widths[0]}}  {value:{widths[1]}}  {default:{widths[2]}}  {meaning}")
