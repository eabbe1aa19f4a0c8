"""Which requests a worker may answer in its event loop: those that are read at once, and whose models let them wait."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from serving.inference import Inference
from serving.rest.browsers import HEALTH
from serving.rest.forms.readers import takes_long
from serving.rest.remembered import remembered

MAX_BODY_BYTES = 384 * 1024
"""A larger body takes too long to parse while others wait; this much does a thousand rows of twenty named values."""

_ALWAYS = frozenset(path.encode() for path in HEALTH)
_RUN = re.compile(
    rb"(?i:/v1/models/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?):(?P<verb>\w+)"
    rb"|/v2/models/([^/]+)(?:/versions/[^/]+)?/infer"
)


def lanes(models: Inference) -> Callable[[bytes], str]:
    """The lane of a request by its target: the model that it runs, "" for whatever runs none that there is."""

    def lane(target: bytes) -> str:
        run = _understand(target)
        return run.model if run is not None and models.knows(run.model) else ""

    return lane


class IsQuick(Protocol):
    """A test of a request by its method, its target, the size of its body, and its Content-Type."""

    def __call__(self, method: str, target: bytes, body_bytes: int, content_type: bytes = b"") -> bool: ...


def quick_requests(models: Inference) -> IsQuick:
    """The test for these models."""

    def is_quick(method: str, target: bytes, body_bytes: int, content_type: bytes = b"") -> bool:
        run = _understand(target)
        if run is None:
            return target.partition(b"?")[0] in _ALWAYS
        is_short = run.may_be_quick and body_bytes <= MAX_BODY_BYTES and not takes_long(content_type)
        return is_short and models.answers_in_loop(run.model, body_bytes)

    return is_quick


@dataclass(frozen=True, slots=True)
class _Run:
    """What a request is to run."""

    model: str
    may_be_quick: bool
    """Whether it predicts; to classify and to regress takes examples, which are slow to read."""


@remembered
def _understand(target: bytes) -> _Run | None:
    """What a request with this target is to run; None for one that runs no model."""
    match = _RUN.fullmatch(target.partition(b"?")[0])
    if match is None:
        return None
    return _Run(unquote_to_bytes(match[1] or match[3]).decode(errors="replace"), match["verb"] in (b"predict", None))
