"""`make` works in a clone that also holds files of its user."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = "import sys, os\ndef f( ):\n  x = undefined\n"  # wrong in style, names and types


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files, beside what `make demo`, the command line and a user leave there."""
    missing = [tool for tool in ("git", "make") if shutil.which(tool) is None]
    missing += [] if (Path(sys.executable).parent / "ruff").exists() else ["ruff"]
    if missing or not (ROOT / ".git").exists():
        pytest.skip(f"this needs a git clone and {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("clone")
    tracked = subprocess.check_output(["git", "ls-files", "-z", "*.py", "*.toml", "Makefile", ".gitignore"], cwd=ROOT)
    for name in tracked.decode().split("\0")[:-1]:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    # hostkit and scenes are also names that drivers import: neither may be sorted as the project's own
    for foreign in ("demo/notes.py", "outputs/a.py", "mine.py", "mine/test_mine.py", "hostkit/a.py", "scenes/a.py"):
        (folder / foreign).parent.mkdir(exist_ok=True)
        (folder / foreign).write_text(FOREIGN)
    return folder


def test_style_is_checked_in_the_projects_own_files_alone(clone: Path) -> None:
    # the environment is at hand: nothing has to be installed first
    command = ["make", "style", f"BIN={Path(sys.executable).parent}", "READY="]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
