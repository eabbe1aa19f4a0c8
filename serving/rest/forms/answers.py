"""Answers of predict in the form that the caller accepts: JSON, or an array, or a table."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from serving.errors import NotAcceptable
from serving.inputs.npy import encode_npy
from serving.inputs.table import csv_bytes, encode_csv
from serving.models.signature import Signature
from serving.rest.application import Answer, json_answer
from serving.rest.forms.media import CSV, JSON, MAX_HEADERS, NPY, media_type
from serving.tensors.cost import answer_bytes
from serving.tensors.encode import NonFinite, encode_columns, encode_rows
from serving.tensors.spec import Array, Kind

OFFERED = (JSON, NPY, CSV)
"""What an answer may be, the first where the caller likes several as well."""


@lru_cache(MAX_HEADERS)
def accepted(header: str) -> tuple[str, ...]:
    """The offered types that an Accept header takes, best first; JSON, as from upstream, where it takes none."""
    ranges = {media_type(name): quality for name, quality in reversed(parse_accept_header(header, MIMEAccept))}
    if not ranges:
        return OFFERED
    qualities = {offer: _quality(ranges, offer) for offer in OFFERED}
    found = sorted((offer for offer in OFFERED if qualities[offer]), key=lambda offer: -qualities[offer])
    return tuple(found) or (JSON,)


def _quality(ranges: Mapping[str, float], offer: str) -> float:
    """How well the most exact of the ranges that name a type likes it."""
    wildcard = offer.partition("/")[0] + "/*"
    return next((ranges[name] for name in (offer, wildcard, "*/*") if name in ranges), 0.0)


def choose(types: tuple[str, ...], signature: Signature) -> str:
    """The first of the types that the outputs of a signature fit; NotAcceptable where they fit none of them."""
    if types[0] == JSON:
        return JSON
    obstacles = {its: obstacle(its, signature) for its in types}
    found = next((its for its, why in obstacles.items() if not why), None)
    if found is None:
        raise NotAcceptable("; ".join(f"the answer cannot be {its}: {why}" for its, why in obstacles.items()))
    return found


def obstacle(offer: str, signature: Signature) -> str:
    """Why the outputs of a signature, as it states them, do not fit a type; "" where they do."""
    outputs = signature.outputs
    if offer == NPY and len(outputs) != 1:
        return f"it is one array, but the signature has {len(outputs)} outputs"
    for name, spec in outputs.items():
        if offer == NPY and (spec.dtype is None or spec.dtype.kind is Kind.STRING or spec.dtype.name == "bfloat16"):
            return f'output "{name}" is of {spec.proto.removeprefix("DT_").lower()}'
        if offer == CSV and spec.shape is not None and len(spec.shape) not in (1, 2):
            return f'output "{name}" has shape {spec.shape_text()}'
    return ""


def _no_bytes(outputs: Mapping[str, Array]) -> int:
    """What it takes to write an array as .npy: its own memory is sent."""
    return 0


_COSTS = {JSON: answer_bytes, NPY: _no_bytes, CSV: csv_bytes}


def cost(media: str) -> Callable[[Mapping[str, Array]], int]:
    """What tells how much memory it takes at most to write tensors as a type."""
    return _COSTS[media]


def write(media: str, outputs: Mapping[str, Array], in_rows: bool, non_finite: NonFinite) -> Answer:
    """The outputs of a model as an answer of this type."""
    if media == NPY:
        (array,) = outputs.values()
        header, values = encode_npy(array)
        return Answer(header, 200, {"Content-Type": NPY}, (values,))
    if media == CSV:
        return Answer(encode_csv(outputs, non_finite), 200, {"Content-Type": f"{CSV}; charset=utf-8"})
    return json_answer((encode_rows if in_rows else encode_columns)(outputs, non_finite))
