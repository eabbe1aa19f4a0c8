"""The command line: `python -m serving COMMAND`."""

from importlib import import_module

import click

COMMANDS = ("bench", "check", "completion", "inspect", "keys", "manifest", "models", "predict", "serve", "settings")
"""Each is a function of the module of its name in serving/commands/."""


class _Program(click.Group):
    """Imports a command when it is needed, so that `serve` does not wait for what the others need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"serving.commands.{name}"), name)
        return found


@click.group(cls=_Program)
def main() -> None:
    """Serve TensorFlow SavedModels over REST."""
