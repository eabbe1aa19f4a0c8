"""Which model and version a path of the protocol names."""

import re
from urllib.parse import unquote

from serving.errors import InvalidArgument
from serving.inference import ModelChoice

MAX_VERSION = 2**63 - 1
_VERSION = re.compile(r"[0-9]{1,19}")


def choose(match: re.Match[str]) -> ModelChoice:
    """The model and version that a path names, by the groups `name` and `version` of its pattern."""
    text = match["version"]
    if text is None:
        return ModelChoice(unquote(match["name"]))
    if not _VERSION.fullmatch(text) or int(text) > MAX_VERSION:
        raise InvalidArgument(f"The version of a model is a whole number, not {text[:64]!r}")
    return ModelChoice(unquote(match["name"]), int(text))
