"""`completion`: the script that makes bash complete commands and options.

The server has no program of its own on the path, so the script also defines `serving`, for this Python and this code.
"""

import shlex
import sys
from pathlib import Path

import click
from click.shell_completion import BashComplete

from serving.commands.output import command

PROGRAM = "serving"
COMPLETE_VARIABLE = "_SERVING_COMPLETE"
_ROOT = Path(__file__).parent.parent.parent
_CALLED_BY_NAME = "bash_complete $1"


@command("completion")
@click.pass_context
def completion(ctx: click.Context) -> None:
    """Print a script for bash that defines the command `serving` and completes it.

    Use it as: source <(python -m serving completion)
    """
    call = f"env PYTHONPATH={shlex.quote(str(_ROOT))} {shlex.quote(sys.executable)} -m serving"
    script = BashComplete(ctx.find_root().command, {}, PROGRAM, COMPLETE_VARIABLE).source()
    click.echo(f'{PROGRAM}() {{ {call} "$@"; }}\n')
    click.echo(script.replace(_CALLED_BY_NAME, f"bash_complete {call}"))
