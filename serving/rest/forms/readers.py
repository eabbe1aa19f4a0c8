"""Bodies of predict requests that are not JSON.

Only exactly these types are read so; every other Content-Type, or none, is JSON as before, since clients of TensorFlow
Serving send any. The signature is the default one, or that which the query string or a field of the form names as
`signature_name`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs

from werkzeug.http import parse_options_header

from serving.errors import InvalidArgument, UnsupportedMediaType
from serving.inputs.image_spec import IMAGE_INPUT, ImageInput
from serving.inputs.npy import decode_npy
from serving.inputs.pictures import decode_pictures
from serving.inputs.table import decode_csv
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.rest.forms.media import CSV, JPEG, MAX_HEADERS, MULTIPART, NPY, PNG, media_type
from serving.rest.forms.multipart import read_multipart
from serving.rest.predict import PredictRequest
from serving.rest.room import UNCOUNTED_TEXT_BYTES
from serving.tensors.echo import cut
from serving.tensors.spec import TensorSpec

SIGNATURE_NAME = "signature_name"
CELL_BYTES = 48
"""What a cell of a table may take beside its text: a string and its place in an array, or a number twice."""
_MAX_FIELDS = 100
_CHARSETS = ("", "utf-8", "utf8", "us-ascii")


@dataclass(frozen=True)
class Sent:
    """A body, and what was said of it.

    `max_bytes` is the most that it may become, `heed` ends what nobody awaits, `need` asks for memory, in bytes in all.
    """

    body: bytes | memoryview
    content_type: str
    query: str
    max_bytes: int
    heed: Callable[[], None]
    need: Callable[[int], None]


Signatures = Mapping[str, Signature]
Read = Callable[[Sent, Signatures, ImageInput | None], PredictRequest]


@lru_cache(MAX_HEADERS)
def reader_of(content_type: str) -> Read | None:
    """What reads a body of this Content-Type; None where it is JSON."""
    return _READERS.get(media_type(content_type))


@lru_cache(MAX_HEADERS)
def takes_long(content_type: bytes) -> bool:
    """Whether a small body of this type may take long to read."""
    return media_type(content_type.decode("latin-1")) in _TAKE_LONG


def only_input(signature: Signature) -> TensorSpec:
    """The input that one array is for; UnsupportedMediaType where there is none."""
    specs = list(signature.inputs.values())
    if len(specs) != 1:
        raise UnsupportedMediaType(f"{NPY} is one array, but the signature has {len(specs)} inputs")
    if specs[0].dtype is None:
        raise UnsupportedMediaType(f'input "{specs[0].name}" is of {specs[0].proto}, which no array holds')
    return specs[0]


def _read_npy(sent: Sent, signatures: Signatures, image_input: ImageInput | None) -> PredictRequest:
    signature = _signature(signatures, _named_in_query(sent.query))
    spec = only_input(signature)
    need = sent.need if len(sent.body) > UNCOUNTED_TEXT_BYTES else _unneeded  # whatever it is converted to
    array = decode_npy(sent.body, spec, need)
    return PredictRequest(signature, array.ndim > 0, {spec.name: array})


def _unneeded(size: int) -> None:
    """Ask for nothing."""


def _read_csv(sent: Sent, signatures: Signatures, image_input: ImageInput | None) -> PredictRequest:
    charset = parse_options_header(sent.content_type)[1].get("charset", "")
    if charset.lower() not in _CHARSETS:
        raise UnsupportedMediaType(f"{CSV} in {cut(charset, 64)!r} is not read here; send it in UTF-8")
    signature = _signature(signatures, _named_in_query(sent.query))
    body = bytes(sent.body)
    sent.need(len(body) + CELL_BYTES * sum(map(body.count, (b",", b"\n", b"\r"))))
    return PredictRequest(signature, True, decode_csv(body, signature.inputs, sent.heed))


def _read_picture(sent: Sent, signatures: Signatures, image_input: ImageInput | None) -> PredictRequest:
    return _read_pictures([bytes(sent.body)], _named_in_query(sent.query), sent, signatures, image_input)


def _read_multipart(sent: Sent, signatures: Signatures, image_input: ImageInput | None) -> PredictRequest:
    form = read_multipart(sent.body, sent.content_type)
    unknown = next((name for name in form.fields if name != SIGNATURE_NAME), None)
    if unknown is not None:
        raise InvalidArgument(f"the form has a field {cut(unknown, 64)!r}; known is {SIGNATURE_NAME}, besides files")
    if not form.files:
        raise InvalidArgument("the form has no file; each file is a row")
    name = form.fields.get(SIGNATURE_NAME) or _named_in_query(sent.query)
    return _read_pictures(form.files, name, sent, signatures, image_input)


def _read_pictures(
    pictures: Sequence[bytes], name: str, sent: Sent, signatures: Signatures, image_input: ImageInput | None
) -> PredictRequest:
    if image_input is None:
        raise UnsupportedMediaType(
            f"this version of the model takes no pictures: its directory holds no {IMAGE_INPUT}, which would say how "
            "they become its input"
        )
    signature = _signature(signatures, name or image_input.signature)
    if signature.name != image_input.signature:
        raise UnsupportedMediaType(
            f"pictures are for the signature {image_input.signature}, by {IMAGE_INPUT}, not for {signature.name}"
        )
    return PredictRequest(signature, True, decode_pictures(pictures, image_input, sent.max_bytes, sent.heed, sent.need))


def _named_in_query(query: str) -> str:
    if not query:
        return ""
    try:
        return parse_qs(query, max_num_fields=_MAX_FIELDS).get(SIGNATURE_NAME, [""])[-1]
    except ValueError:
        raise InvalidArgument(f"the query string has more than {_MAX_FIELDS} fields") from None


def _signature(signatures: Signatures, name: str) -> Signature:
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise InvalidArgument(f'Serving signature name: "{cut(name or DEFAULT_SIGNATURE)}" not found in signature def')
    return signature


_READERS: dict[str, Read] = {
    NPY: _read_npy,
    CSV: _read_csv,
    MULTIPART: _read_multipart,
    JPEG: _read_picture,
    PNG: _read_picture,
}
_TAKE_LONG = _READERS.keys() - {NPY}
