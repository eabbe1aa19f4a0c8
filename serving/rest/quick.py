"""Which requests a worker may answer in its event loop: those that are read at once, and whose models let them wait."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote_to_bytes

from serving.inference import Inference
from serving.rest.forms.readers import takes_long

MAX_BODY_BYTES = 256 * 1024
"""A larger body takes too long to parse while others wait."""

_ALWAYS = (b"/healthz", b"/readyz", b"/v2/health/live", b"/v2/health/ready")
_RUN = re.compile(
    rb"(?i:/v1/models)/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?:\w+|/v2/models/([^/]+)(?:/versions/[^/]+)?/infer"
)
_PREDICT = re.compile(
    rb"/v(?:1/models/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?:predict|2/models/([^/]+)(?:/versions/[^/]+)?/infer)"
)


def lanes(models: Inference) -> Callable[[bytes], str]:
    """The lane of a request by its target: the model that it runs, "" for whatever runs none that there is."""

    def lane(target: bytes) -> str:
        model = _model_run(target)
        return model if model is not None and models.knows(model) else ""

    return lane


class IsQuick(Protocol):
    """A test of a request by its method, its target, the size of its body, and its Content-Type."""

    def __call__(self, method: str, target: bytes, body_bytes: int, content_type: bytes = b"") -> bool: ...


def quick_requests(models: Inference) -> IsQuick:
    """The test for these models."""

    def is_quick(method: str, target: bytes, body_bytes: int, content_type: bytes = b"") -> bool:
        model = _model(target)
        if model is None:
            return target.partition(b"?")[0] in _ALWAYS
        is_short = body_bytes <= MAX_BODY_BYTES and not takes_long(content_type)
        return is_short and models.answers_in_loop(model, body_bytes)

    return is_quick


@lru_cache(maxsize=1024)
def _model_run(target: bytes) -> str | None:
    """The model that a request is to run, in whichever way."""
    match = _RUN.fullmatch(target.partition(b"?")[0])
    return unquote_to_bytes(match[1] or match[2]).decode(errors="replace") if match else None


@lru_cache(maxsize=1024)
def _model(target: bytes) -> str | None:
    """The model that a request is to run, if it is one that may be quick."""
    match = _PREDICT.fullmatch(target.partition(b"?")[0])
    return unquote_to_bytes(match[1] or match[2]).decode(errors="replace") if match else None
