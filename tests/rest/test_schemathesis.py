"""Requests made up from the OpenAPI document: no failure of the server, no answer that the document does not know."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests import saved_models
from tests.conftest import MODELS, Held
from tests.rest.api import serve

CHECKS = {
    schemathesis.GenerationMode.POSITIVE: [response_schema_conformance],
    schemathesis.GenerationMode.NEGATIVE: [],  # a model may take shapes that it does not state, and answer in kind
}
EXAMPLES = {schemathesis.GenerationMode.POSITIVE: 85, schemathesis.GenerationMode.NEGATIVE: 105}
"""So many of each operation make more than 5,000 for all models."""
RAW = {"echo", "passthrough"}
"""The models that answer strings as they were sent: where those are not UTF-8 the answer is no JSON."""
HONEST = [name for name in MODELS if not name.startswith("contrary") and name not in RAW]
"""The models whose signatures say what they do, and whose answers are always JSON."""
ALWAYS = [not_a_server_error, status_code_conformance, content_type_conformance]


def ask_all(application: Any, examples: int, mode: schemathesis.GenerationMode) -> int:
    """Send so many requests of each operation; how many were sent."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", application)
    sent = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode.is_negative and not operation.body:
            continue  # there is nothing in it that could be wrong

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            nonlocal sent
            case.call_and_validate(headers={"Accept-Encoding": "identity"}, checks=[*ALWAYS, *CHECKS[mode]])
            sent += 1

        ask()
    return sent


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("models")
    saved_models.half_plus_two(folder / "half" / "1")
    saved_models.several_inputs(folder / "several" / "1")
    saved_models.examples(folder / "examples" / "1")
    with serve(model_dir=folder, non_finite="null") as client:  # NaN as it is else written is no JSON
        yield client.application


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_requests_as_described_and_others_are_answered_as_described(
    application: Any, mode: schemathesis.GenerationMode
) -> None:
    assert ask_all(application, 6, mode) > 40


@pytest.mark.faults
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_many_requests_to_every_model_are_answered_as_described(
    models: Path, tmp_path: Path, held: Held, mode: schemathesis.GenerationMode
) -> None:
    for name in HONEST:
        shutil.copytree(models / name, tmp_path / name)
    with serve(model_dir=tmp_path, non_finite="null") as client:  # NaN as it is else written is no JSON
        sent = ask_all(client.application, EXAMPLES[mode], mode)
    held(
        f"requests made up from the OpenAPI document, {mode.value}",
        "no failure, no answer that it does not know, 10,000 in all",
        f"{sent} requests, nothing found",
    )
    assert sent >= 5000
