"""Which requests a worker may answer in its event loop: those that are over sooner than a thread could take them."""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from serving.inference import Inference

MAX_BODY_BYTES = 16 * 1024
"""A larger body takes too long to parse while others wait."""

_ALWAYS = (b"/healthz", b"/readyz")
_PREDICT = re.compile(rb"/v1/models/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?:predict")


def quick_requests(models: Inference) -> Callable[[str, bytes, int], bool]:
    """A test of a request by its method, its target and the size of its body."""

    def is_quick(method: str, target: bytes, body_bytes: int) -> bool:
        path = target.partition(b"?")[0]
        match = _PREDICT.fullmatch(path)
        if match is None:
            return path in _ALWAYS
        return body_bytes <= MAX_BODY_BYTES and models.is_quick(unquote_to_bytes(match[1]).decode(errors="replace"))

    return is_quick
