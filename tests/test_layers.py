"""The layering: who may import whom, held by walking the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    file.relative_to(ROOT)
    for file in (ROOT / "app.py", ROOT / "wsgi.py", ROOT / "gunicorn.conf.py", *(ROOT / "serving").rglob("*.py"))
)
LAYERS = (
    (
        "serving/errors.py",
        "serving/caller.py",
        "serving/answers.py",
        "serving/framing.py",
        "serving/memory.py",
        "serving/beat.py",
        "serving/precedence.py",
        "serving/heap.py",
        "serving/logs.py",
        "serving/metrics.py",
        "serving/metric_values.py",
        "serving/fibers.py",
        "serving/generations.py",
        "serving/lanes.py",
        "serving/request_body.py",
        "serving/__init__.py",
    ),
    ("serving/settings.py", "serving/capacity.py"),
    ("serving/tensors/", "serving/access/", "serving/tls.py"),
    ("serving/inputs/",),
    ("serving/models/",),
    ("serving/inference.py", "serving/boot.py"),
    ("serving/commands/",),
    (
        "serving/rest/",
        "serving/cli.py",
        "serving/__main__.py",
        "serving/request.py",
        "serving/connection.py",
        "serving/wsgi.py",
        "serving/listeners.py",
        "serving/worker.py",
        "serving/turns.py",
        "serving/watchdog.py",
        "serving/deadlines.py",
    ),
    ("app.py",),
    ("wsgi.py", "gunicorn.conf.py"),
)
"""From the bottom to the top; a file imports from its own layer and those below it."""

MAY_IMPORT = {
    "tensorflow": ("serving/models/",),
    "flask": ("serving/rest/",),
    "werkzeug": ("serving/rest/",),
    "marshmallow": ("serving/rest/schemas.py", "serving/rest/v2/schemas.py", "serving/rest/openapi/"),
    "apispec": ("serving/rest/openapi/",),
    "msgspec": ("serving/tensors/typed.py",),
    "PIL": ("serving/inputs/pictures.py",),
    "simdjson": ("serving/tensors/skim.py",),
    "gunicorn": ("serving/worker.py",),
    "uvloop": ("serving/worker.py",),
    "httptools": ("serving/request.py",),
    "click": ("serving/cli.py", "serving/commands/"),
    "jwt": ("serving/access/tokens.py",),
    "threading": (
        "serving/models/",
        "serving/access/",
        "serving/logs.py",
        "serving/metrics.py",
        "serving/metric_values.py",
        "serving/fibers.py",
        "serving/caller.py",
        "serving/memory.py",
        "serving/beat.py",
        "serving/precedence.py",
        "serving/heap.py",
        "serving/worker.py",
        "serving/lanes.py",
        "serving/watchdog.py",
        "gunicorn.conf.py",
    ),
    "prometheus_client": ("serving/metrics.py", "serving/metric_values.py"),
}
"""Libraries that only these places may know."""


def imports(file: Path) -> set[str]:
    """The modules that a file imports, with the names imported from packages of our own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def layer(file: Path) -> int:
    return next(number for number, places in enumerate(LAYERS) if any(str(file).startswith(place) for place in places))


def file_of(module: str) -> Path | None:
    """The file of one of our modules; None for other libraries and for names inside a module."""
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate in FILES:
            return candidate
    return None


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_imports_only_from_its_layer_and_those_below(file: Path) -> None:
    imported = {found for module in imports(file) if (found := file_of(module)) is not None}
    assert [str(other) for other in imported if layer(other) > layer(file)] == []


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_knows_only_the_libraries_of_its_place(file: Path) -> None:
    known = {module.split(".")[0] for module in imports(file)} & MAY_IMPORT.keys()
    assert [library for library in known if not any(str(file).startswith(place) for place in MAY_IMPORT[library])] == []


@pytest.mark.parametrize("file", FILES, ids=str)
def test_only_the_settings_read_the_environment(file: Path) -> None:
    text = (ROOT / file).read_text()
    allowed = ("serving/settings.py", "gunicorn.conf.py", "serving/models/runtime.py")
    assert "os.environ" not in text or str(file) in allowed


def test_the_walk_sees_an_upward_import() -> None:
    assert "flask" in imports(Path("serving/rest/v1.py"))
    assert file_of("serving.rest.v1") is not None
    assert layer(Path("serving/rest/v1.py")) > layer(Path("serving/models/source.py"))
