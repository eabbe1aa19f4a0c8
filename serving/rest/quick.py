"""Which requests a worker may answer in its event loop: those that are over sooner than a thread could take them."""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from serving.inference import Inference

MAX_BODY_BYTES = 16 * 1024
"""A larger body takes too long to parse while others wait."""

_ALWAYS = (b"/healthz", b"/readyz", b"/v2/health/live", b"/v2/health/ready")
_PREDICT = re.compile(
    rb"/v(?:1/models/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?:predict|2/models/([^/]+)(?:/versions/[^/]+)?/infer)"
)


def quick_requests(models: Inference) -> Callable[[str, bytes, int], bool]:
    """A test of a request by its method, its target and the size of its body."""

    def is_quick(method: str, target: bytes, body_bytes: int) -> bool:
        path = target.partition(b"?")[0]
        match = _PREDICT.fullmatch(path)
        if match is None:
            return path in _ALWAYS
        name = unquote_to_bytes(match[1] or match[2]).decode(errors="replace")
        return body_bytes <= MAX_BODY_BYTES and models.is_quick(name)

    return is_quick
