"""The command line: `python -m serving COMMAND`."""

import os
import sys
from pathlib import Path

import click

from serving.commands.bench import bench
from serving.commands.check import check
from serving.commands.completion import completion
from serving.commands.inspect import inspect
from serving.commands.keys import keys
from serving.commands.manifest import manifest
from serving.commands.models import models
from serving.commands.output import command, json_option, print_json, print_table, read_settings
from serving.commands.predict import predict


@click.group()
def main() -> None:
    """Serve TensorFlow SavedModels over REST."""


@command("serve")
def serve() -> None:
    """Check the settings and become gunicorn, which serves the models."""
    read_settings()  # first, since gunicorn reads WEB_CONCURRENCY before it reads our configuration
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    os.execv(gunicorn, [gunicorn, "wsgi:app"])  # noqa: S606  # gunicorn, in the place of this process


@command("settings")
@json_option
def settings(as_json: bool) -> None:
    """Print every setting with its value, default and meaning."""
    rows = read_settings().rows()
    if as_json:
        print_json([dict(zip(("name", "value", "default", "meaning"), row, strict=True)) for row in rows])
    else:
        print_table([("NAME", "VALUE", "DEFAULT", "MEANING"), *rows])


for each in (serve, models, inspect, check, manifest, predict, bench, keys, settings, completion):
    main.add_command(each)
