"""Forms with files, `multipart/form-data`, taken apart in memory, in the order of their parts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Event, Field, File, MultipartDecoder, NeedData, State

from serving.errors import InvalidArgument

MAX_PARTS = 1024
MAX_FIELD_BYTES = 1024
"""Fields are names; all that is large is a file."""
CHUNK_BYTES = 64 * 1024
"""How much of a form is looked at at a time; the headers of a part must be shorter."""


@dataclass
class Form:
    """The fields of a form by name, and its files in their order, whatever they are called."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[bytes] = field(default_factory=list)


def read_multipart(body: bytes | memoryview, content_type: str) -> Form:
    """Take a form apart; InvalidArgument says what is wrong with it."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise InvalidArgument("the Content-Type multipart/form-data names no boundary")
    try:
        return _collect(_events(body, MultipartDecoder(boundary.encode(), max_parts=MAX_PARTS)))
    except RequestEntityTooLarge:
        raise InvalidArgument(f"the form has more than {MAX_PARTS} parts") from None
    except ValueError as error:
        raise InvalidArgument(f"the form is not valid multipart/form-data: {error}") from None


def _events(body: bytes | memoryview, decoder: MultipartDecoder) -> Iterator[Event]:
    for start in range(0, len(body), CHUNK_BYTES):
        decoder.receive_data(bytes(body[start : start + CHUNK_BYTES]))
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
        if decoder.state is State.PART and len(decoder.buffer) >= CHUNK_BYTES:
            raise InvalidArgument(f"a part of the form has headers of more than {CHUNK_BYTES} bytes")
    decoder.receive_data(None)
    if decoder.state is not State.EPILOGUE:
        raise InvalidArgument("the form ends before its last boundary")


def _collect(events: Iterator[Event]) -> Form:
    form, pieces = Form(), list[bytes]()
    part: Field | File | None = None
    for event in events:
        if isinstance(event, Field | File):
            part, pieces = event, []
        elif isinstance(event, Data) and part is not None:
            pieces.append(event.data)
            if not event.more_data:
                _add(form, part, b"".join(pieces))
    return form


def _add(form: Form, part: Field | File, data: bytes) -> None:
    if isinstance(part, File):
        form.files.append(data)
        return
    if len(data) > MAX_FIELD_BYTES:
        raise InvalidArgument(
            f"a field of the form has {len(data)} bytes; what is no file has {MAX_FIELD_BYTES} at most"
        )
    form.fields[part.name or ""] = data.decode()
