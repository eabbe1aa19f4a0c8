"""What paths mean, remembered."""

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Any, ParamSpec, TypeVar, cast

MOST = 1024
SHORT = 256
"""A path that is longer is taken apart each time: callers may make up as many as they like, and all would be kept."""

P = ParamSpec("P")
R = TypeVar("R")


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose last argument is a path, and whose results for the last MOST short ones are remembered."""
    known: Any = lru_cache(MOST)(function)
    unknown: Any = function

    def ask(*arguments: Any) -> Any:
        return known(*arguments) if len(arguments[-1]) <= SHORT else unknown(*arguments)

    return cast("Callable[P, R]", update_wrapper(ask, function))
