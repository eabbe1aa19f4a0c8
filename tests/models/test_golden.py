"""Golden requests: a version that does not give the known answers is not made available."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.errors import LoadError
from serving.models.golden import difference
from serving.models.loader import Loader
from serving.settings import Settings
from tests import saved_models

RIGHT = {"request": {"instances": [[1.0], [2.0]]}, "response": {"predictions": [[2.5], [3.0]]}}


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader(Settings(), gpus=[])


@pytest.fixture
def half_plus_two(tmp_path: Path) -> Path:
    saved_models.half_plus_two(tmp_path / "1")
    return tmp_path / "1"


def write_golden(version: Path, document: Any, name: str = "one.json") -> None:
    (version / "golden").mkdir(exist_ok=True)
    (version / "golden" / name).write_text(document if isinstance(document, str) else json.dumps(document))


def failure(loader: Loader, version: Path) -> str:
    with pytest.raises(LoadError) as caught:
        loader("half", 1, version)
    assert caught.value.code == "FAILED_PRECONDITION"
    return str(caught.value)


def test_a_version_that_answers_as_expected_is_loaded(loader: Loader, half_plus_two: Path) -> None:
    write_golden(half_plus_two, RIGHT)
    write_golden(half_plus_two, {"request": {"inputs": [[1]]}, "response": {"outputs": [[2.5]]}}, "two.json")
    loader("half", 1, half_plus_two).close()


def test_a_version_that_answers_otherwise_is_refused_with_the_place_and_both_values(
    loader: Loader, half_plus_two: Path
) -> None:
    write_golden(half_plus_two, RIGHT | {"response": {"predictions": [[2.5], [4]]}})
    assert failure(loader, half_plus_two) == (
        "golden request one.json failed: predictions[1][0] is 3.0, expected 4 within 1e-05"
    )


def test_the_tolerance_is_that_of_the_file(loader: Loader, half_plus_two: Path) -> None:
    write_golden(half_plus_two, RIGHT | {"response": {"predictions": [[2.5], [4]]}, "tolerance": 0.3})
    loader("half", 1, half_plus_two).close()


def test_names_that_begin_with_two_dots_are_no_files_of_the_model(loader: Loader, half_plus_two: Path) -> None:
    write_golden(half_plus_two, RIGHT | {"response": {}}, "..other.json")
    loader("half", 1, half_plus_two).close()


def test_every_file_is_asked(loader: Loader, half_plus_two: Path) -> None:
    write_golden(half_plus_two, RIGHT, "a.json")
    write_golden(half_plus_two, RIGHT | {"response": {}}, "b.json")
    assert failure(loader, half_plus_two) == (
        "golden request b.json failed: the answer has the keys ['predictions'], expected []"
    )


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{", "JSON Parse error: "),
        ([], "it is not an object with request, response and perhaps tolerance"),
        ({"request": {}}, "it is not an object with request, response and perhaps tolerance"),
        (RIGHT | {"tolerence": 1}, "it is not an object with request, response and perhaps tolerance"),
        (RIGHT | {"tolerance": -1}, "tolerance is -1, not a number of 0 or more"),
        (RIGHT | {"tolerance": True}, "tolerance is true, not a number of 0 or more"),
        (RIGHT | {"request": []}, "a predict request is a JSON object"),
        (RIGHT | {"request": {}}, 'a predict request has either "instances" or "inputs"'),
        (RIGHT | {"request": {"instances": []}}, '"instances" is a list of one row or more'),
        (
            RIGHT | {"request": {"signature_name": "other", "instances": [1]}},
            "the model has no signature 'other'; it has ",
        ),
        (RIGHT | {"request": {"instances": [["x"]]}}, "Failed to process element: 0 of 'instances' list"),
    ],
)
def test_a_request_that_cannot_be_asked_is_refused_too(
    document: Any, why: str, loader: Loader, half_plus_two: Path
) -> None:
    write_golden(half_plus_two, document)
    assert failure(loader, half_plus_two).startswith(f"golden request one.json failed: {why}")


def test_they_may_be_turned_off(half_plus_two: Path) -> None:
    write_golden(half_plus_two, "{")
    Loader(Settings(check_golden=False), gpus=[])("half", 1, half_plus_two).close()


@pytest.mark.parametrize(
    ("expected", "got", "what"),
    [
        ({"a": [1, "x", None, True]}, {"a": [1.0, "x", None, True]}, ""),
        (float("nan"), float("nan"), ""),
        (float("inf"), float("inf"), ""),
        (1e6, 1e6 + 1, ""),
        (1.0, 1.1, "the answer is 1.1, expected 1.0 within 1e-05"),
        (1.0, float("nan"), "the answer is nan, expected 1.0 within 1e-05"),
        (True, 1, "the answer is 1, expected true"),
        ("x", "y", 'the answer is "y", expected "x"'),
        ({"a": [{"b": 1}]}, {"a": [{"b": "1"}]}, 'a[0].b is "1", expected 1'),
        ({"a": [1, 2]}, {"a": [1]}, "a has 1 elements, expected 2"),
        ({"a": 1}, {"b": 1}, "the answer has the keys ['b'], expected ['a']"),
    ],
)
def test_values_are_equal_but_for_the_tolerance_of_numbers(expected: Any, got: Any, what: str) -> None:
    assert difference(expected, got, 1e-5) == what
