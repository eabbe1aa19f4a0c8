"""What is installed and what may be installed, against the versions that are known to have holes."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
FILES = ["requirements.txt", "requirements-dev.txt"]


def requirements(file: str) -> list[Requirement]:
    """The lines of a requirements file that name a package."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def floor(requirement: Requirement) -> Version:
    """The lowest version that a requirement allows."""
    return max((Version(its.version) for its in requirement.specifier if its.operator == ">="), default=Version("0"))


def holes() -> dict[str, Version]:
    """The first version of each package without a known hole."""
    first: dict[str, Version] = {}
    for requirement in requirements("known-holes.txt"):
        first[requirement.name] = max(floor(requirement), first.get(requirement.name, Version("0")))
    return first


def below(found: dict[str, Version]) -> dict[str, str]:
    """What of these is older than the first version without a hole."""
    older = {name: first for name, first in holes().items() if name in found and found[name] < first}
    return {name: f"{found[name]} < {first}" for name, first in older.items()}


def installed(name: str) -> Version | None:
    try:
        return Version(version(name))
    except PackageNotFoundError:
        return None


def test_no_requirement_allows_a_version_with_a_known_hole() -> None:
    named = {requirement.name.lower(): floor(requirement) for file in FILES for requirement in requirements(file)}
    assert below(named) == {}


def test_no_version_that_is_installed_has_a_known_hole() -> None:
    found = {name: its for name in holes() if (its := installed(name)) is not None}
    assert below(found) == {}
    assert found.keys() >= {"flask", "gunicorn", "tensorflow", "werkzeug"}


def test_a_version_with_a_known_hole_is_found() -> None:
    assert below({"gunicorn": Version("22.0.0"), "flask": Version("3.1.3")}) == {"gunicorn": "22.0.0 < 23.0.0"}


def test_whoever_installs_the_requirements_is_held_to_the_list() -> None:
    assert "-c known-holes.txt" in (ROOT / "requirements.txt").read_text().splitlines()


@pytest.mark.parametrize("line", (ROOT / "known-holes.txt").read_text().splitlines()[3:])
def test_every_line_names_its_hole(line: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+ +# CVE-\d{4}-\d+(, CVE-\d{4}-\d+)*: .+", line)
