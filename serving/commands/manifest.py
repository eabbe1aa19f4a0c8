"""`manifest DIR`: list the files of a version, for the server to check."""

from pathlib import Path

import click

from serving.commands.output import bytes_text, command, json_option, print_json
from serving.errors import NotFound
from serving.models.manifest import MANIFEST, write_manifest
from serving.models.scanner import holds_saved_model


@command("manifest")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def manifest(directory: Path, as_json: bool) -> None:
    """Write manifest.json, with the size and SHA-256 of every file of the version in DIRECTORY."""
    if not holds_saved_model(directory):
        raise NotFound(f"{directory} is not a version's directory: it holds no saved_model.pb")
    entries = write_manifest(directory)
    total = sum(entry.bytes for entry in entries.values())
    if as_json:
        print_json({"manifest": str(directory / MANIFEST), "files": len(entries), "bytes": total})
    else:
        click.echo(f"{directory / MANIFEST} lists {len(entries)} files, {bytes_text(total)}")
