"""Golden requests: questions with known answers that a version must still give before it is made available.

Each file `golden/*.json` in a version's directory holds one:

    {"request": {"instances": [[1.0]]}, "response": {"predictions": [[2.5]]}, "tolerance": 0.001}

`request` is the body of a predict request and `response` the whole answer. Numbers may differ by `tolerance`, absolute
or relative to the one expected (1e-5 where it is not given); everything else must be equal.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import FailedPrecondition, ServingError
from serving.models.lifecycle import Runnable
from serving.models.predict_body import answer_predict
from serving.tensors.echo import echo
from serving.tensors.parse import parse

GOLDEN_DIRECTORY = "golden"
MAX_GOLDEN = 1000
DEFAULT_TOLERANCE = 1e-5
_KEYS = {"request", "response", "tolerance"}


@dataclass(frozen=True)
class Golden:
    """One golden request, by the name of its file."""

    name: str
    request: Any
    response: Any
    tolerance: float


def golden_files(version: Path) -> list[Path]:
    """The files of a version's golden requests, in the order in which they are asked."""
    return sorted(file for file in (version / GOLDEN_DIRECTORY).glob("*.json") if not file.name.startswith(".."))


def read_golden(file: Path) -> Golden:
    """Read one; FailedPrecondition says what is wrong with the file."""
    try:
        document = parse(file.read_bytes())
    except ServingError as error:
        raise _failed(file.name, error.message) from None
    if not isinstance(document, dict) or not {"request", "response"} <= document.keys() <= _KEYS:
        raise _failed(file.name, "it is not an object with request, response and perhaps tolerance")
    tolerance = document.get("tolerance", DEFAULT_TOLERANCE)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise _failed(file.name, f"tolerance is {echo(tolerance)}, not a number of 0 or more")
    return Golden(file.name, document["request"], document["response"], tolerance)


def check_golden(model: Runnable, version: Path) -> int:
    """Ask a loaded version its golden requests and say how many; FailedPrecondition says which failed, and how."""
    files = golden_files(version)
    if len(files) > MAX_GOLDEN:
        raise FailedPrecondition(f"there are {len(files)} golden requests, more than {MAX_GOLDEN}")
    for file in files:
        golden = read_golden(file)
        try:
            answer = parse(answer_predict(model, golden.request))
        except ServingError as error:
            raise _failed(file.name, error.message) from None
        wrong = difference(golden.response, answer, golden.tolerance)
        if wrong:
            raise _failed(file.name, wrong)
    return len(files)


def difference(expected: Any, got: Any, tolerance: float, place: str = "") -> str:
    """Where and how one JSON value differs from another; "" when it does not."""
    if _is_number(expected) and _is_number(got):
        if _are_close(expected, got, tolerance):
            return ""
        return f"{place or 'the answer'} is {got!r}, expected {expected!r} within {tolerance:g}"
    if type(expected) is not type(got):
        return f"{place or 'the answer'} is {echo(got)}, expected {echo(expected)}"
    if isinstance(expected, dict):
        return _difference_of_objects(expected, got, tolerance, place)
    if isinstance(expected, list):
        return _difference_of_lists(expected, got, tolerance, place)
    return "" if expected == got else f"{place or 'the answer'} is {echo(got)}, expected {echo(expected)}"


def _difference_of_objects(expected: dict[str, Any], got: dict[str, Any], tolerance: float, place: str) -> str:
    if expected.keys() != got.keys():
        return f"{place or 'the answer'} has the keys {sorted(got)}, expected {sorted(expected)}"
    parts = (difference(value, got[key], tolerance, f"{place}.{key}".lstrip(".")) for key, value in expected.items())
    return next(filter(None, parts), "")


def _difference_of_lists(expected: list[Any], got: list[Any], tolerance: float, place: str) -> str:
    if len(expected) != len(got):
        return f"{place} has {len(got)} elements, expected {len(expected)}"
    pairs = enumerate(zip(expected, got, strict=True))
    parts = (difference(value, other, tolerance, f"{place}[{index}]") for index, (value, other) in pairs)
    return next(filter(None, parts), "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_close(expected: float, got: float, tolerance: float) -> bool:
    both_nan = expected != expected and got != got
    return both_nan or math.isclose(expected, got, rel_tol=tolerance, abs_tol=tolerance)


def _failed(name: str, why: str) -> FailedPrecondition:
    return FailedPrecondition(f"golden request {name} failed: {why}")
