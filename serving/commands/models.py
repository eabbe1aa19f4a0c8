"""`models`: what the model directory holds, without loading it."""

from dataclasses import replace
from typing import Any

import click

from serving import capacity
from serving.commands.output import bytes_text, command, json_option, print_json, print_table, read_settings
from serving.models.configured import make_source
from serving.models.directory import check_directory
from serving.models.manifest import MANIFEST
from serving.models.source import ModelOnDisk, wanted
from serving.settings import Settings


@command("models")
@json_option
def models(as_json: bool) -> None:
    """List the models and versions that the server would find, without loading them."""
    settings = read_settings()
    found = list_versions(settings)
    if as_json:
        print_json({"models": found})
    elif not found:
        click.echo(f"there is no model in {settings.model_config_file or settings.model_dir}")
    else:
        print_table([("MODEL", "VERSION", "SIZE", "MANIFEST", "SERVED", "PATH"), *map(_row, found)])


def list_versions(settings: Settings) -> list[dict[str, Any]]:
    """Every version of every model, newest first; SettingsError where they cannot be looked at."""
    if settings.model_config_file is None:
        check_directory(settings.model_dir)
    source = make_source(replace(settings, model_poll_seconds=0, runtime_dir=None))
    return [version for name, model in sorted(source.poll().items()) for version in _describe(name, model)]


def _describe(name: str, model: ModelOnDisk) -> list[dict[str, Any]]:
    keep = wanted(model.config.policy, [version.version for version in model.versions], ())
    return [
        {
            "model": name,
            "version": version.version,
            "bytes": capacity.directory_bytes(version.path),
            "manifest": (version.path / MANIFEST).is_file(),
            "served": version.version in keep,
            "path": str(version.path),
        }
        for version in model.versions
    ]


def _row(version: dict[str, Any]) -> tuple[str, ...]:
    manifest, served = ("yes" if version[key] else "no" for key in ("manifest", "served"))
    return (
        version["model"], str(version["version"]), bytes_text(version["bytes"]), manifest, served, version["path"],
    )  # fmt: skip
