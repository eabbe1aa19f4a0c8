"""What tests of the REST API share: every model written once, and one app that serves them all."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import hypothesis
import pytest
from flask.testing import FlaskClient

from tests import saved_models
from tests.rest import contrary_models
from tests.rest.api import serve

hypothesis.settings.register_profile("untimed", deadline=None)  # how long an example takes depends on the machine
hypothesis.settings.load_profile("untimed")

MODELS = {
    "bytes_output": saved_models.bytes_output,
    "contrary_examples": contrary_models.contrary_examples,
    "contrary_outputs": contrary_models.contrary_outputs,
    "counter": saved_models.counter,
    "echo": saved_models.echo,
    "examples": saved_models.examples,
    "half_plus_two": saved_models.half_plus_two,
    "no_batch": saved_models.no_batch,
    "not_finite": saved_models.not_finite,
    "old examples": partial(saved_models.examples, old_parser=True),
    "passthrough": saved_models.passthrough,
    "raises": saved_models.raises,
    "several_inputs": saved_models.several_inputs,
    "several_signatures": saved_models.several_signatures,
}
"""One version of each of these, by the name of the model."""

Held = Callable[[str, str, str], None]
"""Notes what a fault did: the fault, the line that must hold, and the figures that were measured."""

HELD = pytest.StashKey[list[tuple[str, str, str]]]()

TIMES = {"00000007": 7.0, "8": 8.0, "12": 12.0}
"""The versions of `times`, by directory; each multiplies by its number."""

CONFIG = """
model_config_list {{
  {models}
  config {{
    name: "times" base_path: "{folder}/times" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 7 versions: 12 }} }}
    version_labels {{ key: "stable" value: 7 }}
    version_labels {{ key: "new!#$%&'()*+,/:;=?@[]" value: 12 }}
  }}
}}
"""


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Held:
    """A row of the table of faults that ends the run; a test calls it before it asserts that the line holds."""
    rows = request.config.stash.setdefault(HELD, [])
    return lambda fault, line, measured: rows.append((fault, line, measured))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of faults."""
    rows = config.stash.get(HELD, [])
    if not rows:
        return
    terminalreporter.section("what held")
    for fault, line, measured in [("Fault", "Line", "Measured"), ("---", "---", "---"), *rows]:
        terminalreporter.write_line(f"| {fault} | {line} | {measured} |")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of models, NAME/VERSION; not to be written to."""
    folder = tmp_path_factory.mktemp("models")
    for name, write in MODELS.items():
        write(folder / name / "1")
    saved_models.endless(folder / "endless" / "1")  # for an app with a short timeout of its own: loading tries it
    for version, factor in TIMES.items():
        saved_models.scale(folder / "times" / version, factor)
    return folder


@pytest.fixture(scope="session")
def client(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A client of an app that serves every model, with default settings."""
    listed = [
        f'config {{ name: "{name}" base_path: "{models}/{name}" model_platform: "tensorflow" }}' for name in MODELS
    ]
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(CONFIG.format(models="\n  ".join(listed), folder=models))
    with serve(model_config_file=config) as client:
        yield client


@pytest.fixture(scope="session")
def half_plus_two(models: Path) -> Path:
    """A model directory with nothing but a small model, for apps with settings of their own; it is called `model`."""
    return models / "half_plus_two"
