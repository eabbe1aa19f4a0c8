"""What predict takes and gives beside JSON, by the signatures that it fits."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from serving.errors import NotAcceptable, ServingError
from serving.inputs.table import encode_csv, layout_of
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest.forms import answers, readers
from serving.rest.forms.media import CSV, JPEG, MULTIPART, NPY, PNG
from serving.rest.loaded import LoadedVersion
from serving.rest.samples import sample_inputs
from serving.tensors.spec import TensorSpec

Content = dict[str, Any]

_BINARY = {"type": "string", "format": "binary"}


def request_content(version: LoadedVersion, signatures: Iterable[Signature]) -> Content:
    """The other media types that a body may have."""
    found: Content = {}
    for signature in signatures:
        if _takes_array(signature):
            (spec,) = signature.inputs.values()
            _add(found, NPY, _BINARY, f"One array: {_named(signature)}{_text(spec)}.")
        if _takes_table(signature):
            columns = ", ".join(_text(spec) for spec in signature.inputs.values())
            _add(found, CSV, {"type": "string"}, f"A header, then a row a line: {_named(signature)}{columns}.")
            _add_table_example(found[CSV], version, signature)
    image_input = version.about.image_input
    if image_input is not None and any(signature.name == image_input.signature for signature in signatures):
        height, width = image_input.shape[:2]
        text = f"Becomes {image_input.color}, {height} x {width} pixels, in `{image_input.name}`."
        for media in (PNG, JPEG):
            _add(found, media, _BINARY, text)
        files = {"type": "array", "items": _BINARY, "minItems": 1, "description": "PNG or JPEG; each file is a row."}
        form = {"type": "object", "properties": {"file": files}, "required": ["file"], "additionalProperties": False}
        _add(found, MULTIPART, form, text)
    return found


def answer_content(signatures: Iterable[Signature]) -> Content:
    """The other media types that an answer may have, where Accept asks for them."""
    found: Content = {}
    for signature in signatures:
        for media, schema in ((NPY, _BINARY), (CSV, {"type": "string"})):
            if not answers.obstacle(media, signature):
                outputs = ", ".join(_text(spec) for spec in signature.outputs.values())
                _add(found, media, schema, f"{_named(signature)}{outputs}.")
    return found


def signature_parameter(signatures: Iterable[Signature]) -> list[dict[str, Any]]:
    """The parameter of the query that names the signature for these bodies, where there are several."""
    names = [its.name for its in signatures if _takes_array(its) or _takes_table(its)]
    if len(names) < 2:
        return []
    text = "The signature, for bodies that are not JSON."
    schema = {"type": "string", "enum": names}
    return [{"in": "query", "name": readers.SIGNATURE_NAME, "description": text, "schema": schema}]


def _takes_array(signature: Signature) -> bool:
    return _succeeds(lambda: readers.only_input(signature))


def _takes_table(signature: Signature) -> bool:
    return _succeeds(lambda: layout_of(signature.inputs))


def _succeeds(call: Any) -> bool:
    try:
        call()
    except ServingError:
        return False
    return True


def _add(found: Content, media: str, schema: Any, text: str) -> None:
    """Add a media type, or what it means for one more signature."""
    content = found.setdefault(media, {"schema": {**schema, "description": ""}})
    content["schema"]["description"] = f"{content['schema']['description']}\n{text}".strip()


def _add_table_example(content: dict[str, Any], version: LoadedVersion, signature: Signature) -> None:
    sample = sample_inputs(version, signature) if signature.name == DEFAULT_SIGNATURE else None
    if sample is not None:
        with suppress(NotAcceptable):  # bytes that are no text
            content["examples"] = {signature.name: {"value": encode_csv(sample, "literal").decode()}}


def _named(signature: Signature) -> str:
    return "" if signature.name == DEFAULT_SIGNATURE else f"{signature.name}: "


def _text(spec: TensorSpec) -> str:
    assert spec.dtype is not None
    return f"`{spec.name}` {spec.dtype.name} {spec.shape_text()}"
