"""`manifest DIR`: list the files of a version, for the server to check, and sign the list."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from serving.commands.output import bytes_text, command, json_option, print_json
from serving.errors import NotFound
from serving.models.manifest import MANIFEST, SIGNATURE, Entry, write_manifest
from serving.models.scanner import holds_saved_model


@command("manifest")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--sign-with",
    "key_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also write manifest.json.sig, its signature by this private Ed25519 key (PEM).",
)
@json_option
def manifest(directory: Path, key_file: Path | None, as_json: bool) -> None:
    """Write manifest.json, with the size and SHA-256 of every file of the version in DIRECTORY."""
    if not holds_saved_model(directory):
        raise NotFound(f"{directory} is not a version's directory: it holds no saved_model.pb")
    was_signed = (directory / SIGNATURE).is_file()
    entries = _write(directory, key_file)
    total = sum(entry.bytes for entry in entries.values())
    if as_json:
        signed = key_file is not None
        print_json({"manifest": str(directory / MANIFEST), "files": len(entries), "bytes": total, "signed": signed})
        return
    click.echo(f"{directory / MANIFEST} lists {len(entries)} files, {bytes_text(total)}")
    if key_file is not None:
        click.echo(f"{directory / SIGNATURE} is its signature with {key_file}")
    elif was_signed:
        click.echo(f"{directory / SIGNATURE} no longer held and is gone: sign with --sign-with")


def _write(directory: Path, key_file: Path | None) -> Mapping[str, Entry]:
    if key_file is None:
        return write_manifest(directory)
    from serving.models.signing import sign  # cryptography takes a quarter of a second

    return write_manifest(directory, partial(sign, key_file=key_file))
