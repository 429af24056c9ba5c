"""Loading the pack: quiet, quick, and without pulling in libraries that the host does not need."""

import re
import subprocess
from pathlib import Path

import pytest
from hostlink.checkpoints import Checkpoints
from hostlink.discovery import Host
from hostlink.server import start_command
from hostlink.worker import HostWorker
from hostlink.workspace import PACK_FOLDER, make_workspace

IMPORT_SECONDS = 0.3
OURS = re.compile("cones2|" + re.escape(PACK_FOLDER), re.IGNORECASE)


def quick_test(host: Host, base: Path) -> list[str]:
    """The lines of ComfyUI's own check: start, load the packs, exit."""
    command = start_command(host, base, "--quick-test-for-ci")
    done = subprocess.run(
        command, cwd=base, env=host.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [re.sub(r"\x1b\[\d*m", "", line) for line in (done.stdout + done.stderr).splitlines()]


def test_quick_test_for_ci_shows_nothing_from_the_pack(host: Host, checkpoints: Checkpoints, tmp_path: Path) -> None:
    lines = quick_test(host, make_workspace(tmp_path / "with", checkpoints.folder))
    (loaded,) = [line for line in lines if PACK_FOLDER in line and "seconds" in line]
    assert "IMPORT FAILED" not in loaded
    bare = make_workspace(tmp_path / "without", checkpoints.folder)
    (bare / "custom_nodes" / PACK_FOLDER).unlink()
    alone = {_message(line) for line in quick_test(host, bare)}
    new = [line for line in lines if _message(line) not in alone and line.strip()]
    talk = [line for line in new if "Setting base directory" not in line and "Import times" not in line]
    assert [line for line in talk if line != loaded] == []


def _message(line: str) -> str:
    """A log line without what differs from run to run."""
    return re.sub(r"[\d.]+", "0", line)


def test_import_is_quick_and_light(in_fresh_host: HostWorker, capsys: pytest.CaptureFixture[str]) -> None:
    loading = in_fresh_host.started["loading"]
    with capsys.disabled():
        print(f"\nloading the pack: {loading['seconds']:.3f} s, {len(loading['modules'])} new modules")
    assert loading["seconds"] <= IMPORT_SECONDS
    heavy = {"diffusers", "transformers", "accelerate", "torchvision", "scipy", "matplotlib"}
    assert sorted({name.split(".")[0] for name in loading["modules"]} & heavy) == []
    assert in_fresh_host.started["warnings"] == []
