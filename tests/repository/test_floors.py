"""The lowest versions that pyproject.toml claims are those that the tests are run with."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
tomllib = pytest.importorskip("tomllib")  # Python 3.11


def claimed() -> dict[str, Version]:
    """Name → lowest version, of the engine and the command line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, Version] = {}
    for line in project["dependencies"] + project["optional-dependencies"]["cli"]:
        requirement = Requirement(line)
        [lowest] = [part.version for part in requirement.specifier if part.operator == ">="]
        found[canonicalize_name(requirement.name)] = Version(lowest)
    return found


def run_with() -> dict[str, Version]:
    lines = (ROOT / "requirements-floor.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_each_claimed_version_is_one_that_ran() -> None:
    assert claimed() == run_with()
