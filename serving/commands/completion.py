"""`completion`: the script that makes a shell complete commands and options.

The server has no program of its own on the path, so the script also defines `serving`, for this Python and this code.
click's scripts call the program by its name, which is no program here but a function; so they are told the whole call.
"""

import shlex
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from serving.commands.output import command, json_option, print_json

PROGRAM = "serving"
COMPLETE_VARIABLE = "_SERVING_COMPLETE"
_ROOT = Path(__file__).parent.parent.parent
_FUNCTIONS = {
    "bash": '{name}() {{ {call} "$@"; }}',
    "zsh": '{name}() {{ {call} "$@"; }}',
    "fish": "function {name}; {call} $argv; end",
}
"""How each shell defines a command."""
_BY_NAME = {
    "bash": ("bash_complete $1", "bash_complete {call}"),
    "zsh": (f"zsh_complete {PROGRAM}", "zsh_complete {call}"),
    "fish": (f"COMP_CWORD=(commandline -t) {PROGRAM}", "COMP_CWORD=(commandline -t) {call}"),
}
"""What of click's script calls the program, and what is to stand there."""
_NO_PROGRAM = f"(( ! $+commands[{PROGRAM}] )) && return 1"
"""Where zsh's script gives up because there is no such program."""


@command("completion")
@click.argument("shell", type=click.Choice(list(_FUNCTIONS)), default="bash")
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print a script for SHELL (bash, zsh or fish) that defines the command `serving` and completes it.

    Use it as: source <(python -m serving completion bash), or in fish: python -m serving completion fish | source
    """
    script = make_script(ctx.find_root().command, shell)
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)


def make_script(program: click.Command, shell: str) -> str:
    """The script for a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    call = f"env PYTHONPATH={shlex.quote(str(_ROOT))} {shlex.quote(sys.executable)} -m serving"
    by_name, whole = _BY_NAME[shell]
    script = kind(program, {}, PROGRAM, COMPLETE_VARIABLE).source().replace(_NO_PROGRAM, "")
    defined = _FUNCTIONS[shell].format(name=PROGRAM, call=call)
    return f"{defined}\n\n{script.replace(by_name, whole.format(call=call))}"
