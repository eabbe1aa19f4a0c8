"""`predict MODEL --input FILE`: ask a model the rows of a file, or a picture, here or on a server."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import click

from serving.commands import remote
from serving.commands.output import command, json_option, read_settings
from serving.commands.remote import PICTURES, is_url, key_option, parse_url, read_key, signature_of
from serving.commands.rows import Rows, read_rows
from serving.commands.version import find_version
from serving.errors import InvalidArgument, NotFound
from serving.tensors.spec import TensorSpec

ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Target:
    """A model to be asked: its inputs, and what answers the body of a predict request, and a picture of a type."""

    inputs: Mapping[str, TensorSpec]
    answer: Callable[[dict[str, Any]], Any]
    answer_picture: Callable[[bytes, str], Any]


@command("predict", needs_tensorflow=True)
@click.argument("model")
@click.option(
    "--input", "file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows to ask: .json, .jsonl, .npy or .csv; or a picture: .png or .jpg.",
)  # fmt: skip
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="Where the answers go.")
@click.option("--signature", default="", help="The signature to call, instead of the default one.")
@click.option("--batch", type=click.IntRange(1), default=ROWS_AT_ONCE, show_default=True, help="Rows asked at once.")
@key_option
@json_option
def predict(
    model: str, file: Path, output: IO[str], signature: str, batch: int, key_file: IO[str] | None, as_json: bool
) -> None:
    """Ask MODEL, a directory or the URL of a served model, the rows of a file; print an answer a line."""
    with _target(model, signature, read_key(key_file)) as target:
        if file.suffix.lower() in PICTURES:
            document = target.answer_picture(file.read_bytes(), PICTURES[file.suffix.lower()])
            _print(document["predictions"], output, as_json)
            return
        rows = read_rows(file, target.inputs)
        if not isinstance(rows, Rows):
            print(json.dumps(target.answer(rows)), file=output)
            return
        _print(_answers(target, rows, signature, batch), output, as_json)


def _print(answers: Iterable[Any], output: IO[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"predictions": list(answers)}), file=output)
        return
    for answer in answers:
        print(json.dumps(answer), file=output)


def _answers(target: Target, rows: Rows, signature: str, batch: int) -> Iterator[Any]:
    """The answers to all rows, with a progress bar on standard error where that is a terminal."""
    with click.progressbar(length=rows.count, file=sys.stderr, label="rows") as bar:
        for part in rows.parts(batch):
            body = {"instances": part} | ({"signature_name": signature} if signature else {})
            answer = target.answer(body)
            if "predictions" not in answer or len(answer["predictions"]) != len(part):
                raise InvalidArgument("the model did not answer row by row; give the body of a request as .json")
            yield from answer["predictions"]
            bar.update(len(part))


@contextmanager
def _target(model: str, signature: str, key: str) -> Iterator[Target]:
    with _served(model, signature, key) if is_url(model) else _local(Path(model), signature) as target:
        yield target


@contextmanager
def _served(text: str, signature: str, key: str) -> Iterator[Target]:
    url = parse_url(text, key)
    with closing(url.connect()) as connection:
        inputs = signature_of(url, connection, signature)["inputs"]

        def answer(body: dict[str, Any]) -> Any:
            return remote.predict(url, connection, json.dumps(body).encode())

        def answer_picture(picture: bytes, media_type: str) -> Any:
            return remote.predict(url, connection, picture, media_type, signature)

        yield Target({name: _spec(name, its) for name, its in inputs.items()}, answer, answer_picture)


def _spec(name: str, described: Mapping[str, Any]) -> TensorSpec:
    """An input as the metadata of a model describes it."""
    shape = described["tensor_shape"]
    sizes = [int(dimension["size"]) for dimension in shape["dim"]]
    known = None if shape.get("unknown_rank") else tuple(None if size < 0 else size for size in sizes)
    return TensorSpec(name, described["dtype"], known)


@contextmanager
def _local(path: Path, signature: str) -> Iterator[Target]:
    from serving.models.loader import Loader
    from serving.models.predict_body import answer_picture, answer_predict
    from serving.models.signature import DEFAULT_SIGNATURE
    from serving.tensors.parse import parse

    version, settings = find_version(path), replace(read_settings(), access_log=False)
    model = Loader(settings)(version.model, version.version, version.path)
    wanted = signature or DEFAULT_SIGNATURE
    with closing(model):
        if wanted not in model.signatures:
            raise NotFound(f"the model has no signature {wanted}; it has {', '.join(sorted(model.signatures))}")
        yield Target(
            model.signatures[wanted].inputs,
            lambda body: parse(answer_predict(model, body)),
            lambda picture, _: parse(answer_picture(model, picture, signature, settings.max_decompressed_bytes)),
        )
