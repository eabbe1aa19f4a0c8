"""Which requests a worker may answer in its event loop: those that are read at once, and whose models let them wait."""

import re
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote_to_bytes

from serving.inference import Inference
from serving.rest.forms.readers import takes_long

MAX_BODY_BYTES = 256 * 1024
"""A larger body takes too long to parse while others wait."""

_ALWAYS = (b"/healthz", b"/readyz", b"/v2/health/live", b"/v2/health/ready")
_PREDICT = re.compile(
    rb"/v(?:1/models/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?:predict|2/models/([^/]+)(?:/versions/[^/]+)?/infer)"
)


class IsQuick(Protocol):
    """A test of a request by its method, its target, the size of its body, and its Content-Type."""

    def __call__(self, method: str, target: bytes, body_bytes: int, content_type: bytes = b"") -> bool: ...


def quick_requests(models: Inference) -> IsQuick:
    """The test for these models."""

    def is_quick(method: str, target: bytes, body_bytes: int, content_type: bytes = b"") -> bool:
        model = _model(target)
        if model is None:
            return target.partition(b"?")[0] in _ALWAYS
        return body_bytes <= MAX_BODY_BYTES and models.answers_in_loop(model) and not takes_long(content_type)

    return is_quick


@lru_cache(maxsize=1024)
def _model(target: bytes) -> str | None:
    """The model that a request is to run, if it is such a request."""
    match = _PREDICT.fullmatch(target.partition(b"?")[0])
    return unquote_to_bytes(match[1] or match[2]).decode(errors="replace") if match else None
