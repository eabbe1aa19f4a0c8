"""What each path needs: the one list that the guard asks."""

import re
from urllib.parse import unquote

from serving.access.grants import Need, Right
from serving.rest import site, v1
from serving.rest.remembered import remembered

_MODEL = r"/v2/models/(?P<name>[^/]+)(?:/versions/[^/]+)?"
_OTHERS = tuple(
    (re.compile(pattern), right)
    for pattern, right in (
        (r"/v2/health/(?:live|ready)", None),
        (r"/v2/?", Right.METADATA),
        (r"/v2/models/stats", Right.METADATA),
        (rf"{_MODEL}(?:/(?:ready|config|stats))?", Right.METADATA),
        (rf"{_MODEL}/infer", Right.PREDICT),
        (r"/v2/repository/index", Right.METADATA),
        (r"/v2/repository/models/(?P<name>[^/]+)/(?:load|unload)", Right.ADMIN),
        (r"/openapi\.json|/console/(?:models|activity)", Right.METADATA),
        (r"/console/models/(?P<name>[^/]+)/versions/[0-9]+", Right.METADATA),
        (r"/|/docs|/(?:docs|console)/[\w.-]+", None),  # no percent sign, which could spell one of the above
    )
)
"""The Open Inference Protocol, the documentation and the console: the first that matches."""


@remembered
def needed(path: str) -> Need | None:
    """What a caller must be granted for a path as it was sent, percent signs and all; None where it means nothing."""
    return site.needed(path) or v1.needed(path) or _needed_by_others(path)


def _needed_by_others(path: str) -> Need | None:
    for pattern, right in _OTHERS:
        if match := pattern.fullmatch(path):
            name = match.groupdict().get("name")
            return Need(right, None if name is None else unquote(name))
    return None
