"""Rights, the grants that give them, and the decision. Pure; what no grant gives is denied."""

import fnmatch
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from serving.access.limits import UNLIMITED, Limit


class Right(StrEnum):
    """What can be granted."""

    PREDICT = "predict"
    METADATA = "metadata"
    METRICS = "metrics"
    ADMIN = "admin"


class Need(NamedTuple):
    """What a request asks for: a right, on one model or (None) wherever it is granted; without a right it is open."""

    right: Right | None
    model: str | None = None


OPEN = Need(None)
_SHOWING = frozenset({Right.PREDICT, Right.METADATA, Right.ADMIN})
"""The rights with which a caller knows that a model exists."""


@dataclass(frozen=True)
class Grant:
    """Rights on the models whose names match any of the glob patterns, and how much of them. Names matter in case."""

    name: str
    models: tuple[str, ...]
    may: frozenset[Right]
    limit: Limit = UNLIMITED

    def covers(self, model: str) -> bool:
        return self._pattern.fullmatch(model) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(fnmatch.translate(glob) for glob in self.models) or r"(?!)")


@dataclass(frozen=True)
class Caller:
    """Who asks, by a name for the log, and what was granted to them."""

    name: str
    grants: tuple[Grant, ...]

    def grant_for(self, need: Need) -> Grant | None:
        """The first grant that gives what is needed; None where none does."""
        return next((grant for grant in self.grants if _gives(grant, need)), None)

    def sees(self, model: str) -> bool:
        """Whether the caller may know that there is such a model."""
        return any(grant.may & _SHOWING and grant.covers(model) for grant in self.grants)


def _gives(grant: Grant, need: Need) -> bool:
    return need.right in grant.may and (need.model is None or grant.covers(need.model))


class Admission(NamedTuple):
    """A request that may go on, the grant that it is charged to, and the models that exist for it."""

    caller: Caller
    need: Need
    grant: Grant | None
    """None where nothing was granted: the request goes on only to be told that its model does not exist."""

    def sees(self, model: str) -> bool:
        """Whether a model exists for this request: of those that it names, only the one that was decided on."""
        if self.need.model is None:
            return self.caller.grant_for(Need(self.need.right, model)) is not None
        return self.grant is not None and model == self.need.model


def decide(caller: Caller, need: Need) -> Admission | None:
    """Whether the caller gets what is needed; None when not.

    A model that the caller may not know of is no reason to refuse: the request goes on, and finds no such model.
    """
    grant = caller.grant_for(need)
    if grant is None and (need.model is None or caller.sees(need.model)):
        return None
    return Admission(caller, need, grant)
