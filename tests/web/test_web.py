"""The web extension without a page: its modules under node, its types and its style."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cones2-tests" / "web"


def ran(*command: str | Path, cwd: Path = HERE) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node: install it to test the web extension")
    return found


@pytest.fixture(scope="module")
def checks(node: str) -> Path:
    """A folder with a copy of the extension and the tools that check it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm: install it to check the web extension")
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted, stamp = (HERE / "package.json").read_text(), CACHE / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.copy(HERE / "package.json", CACHE)
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=CACHE, capture_output=True)
        if done.returncode:
            pytest.skip("no TypeScript and ESLint: npm could not install them")
        stamp.write_text(wanted)
    shutil.rmtree(CACHE / "web", ignore_errors=True)
    shutil.copytree(WEB, CACHE / "web")
    shutil.copy(HERE / "eslint.config.mjs", CACHE)
    return CACHE


def test_the_painters_modules(node: str) -> None:
    ran(node, "--test", *sorted(HERE.glob("*.test.mjs")))


def test_the_painters_types(checks: Path, node: str) -> None:
    ran(node, checks / "node_modules" / "typescript" / "bin" / "tsc", "-p", HERE / "tsconfig.json")


def test_the_extensions_style(checks: Path, node: str) -> None:
    ran(node, checks / "node_modules" / "eslint" / "bin" / "eslint.js", "web", cwd=checks)


def test_every_module_is_of_a_readable_length() -> None:
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in WEB.rglob("*.js")}
    assert {name: length for name, length in lengths.items() if length > 350} == {}
