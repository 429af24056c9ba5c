"""Where the ComfyUI host is, and how its processes are started."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACK = Path(__file__).resolve().parents[3]
INSIDE = Path(__file__).resolve().parents[1] / "in_host" / "support"
THREADS = os.environ.get("CONES2_TEST_THREADS", "1")
NO_HOST = (
    "no ComfyUI host: set COMFYUI_PATH to a checkout whose requirements are installed, "
    "or install one into ~/comfy/ComfyUI with `pip install comfy-cli && comfy install`"
)


@dataclass(frozen=True)
class Host:
    """A ComfyUI checkout and the Python that runs it."""

    root: Path
    python: Path

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of a host process: fixed threads, no Python path from outside."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        threads = {"OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS, "OMP_WAIT_POLICY": "PASSIVE"}
        own = {"COMFYUI_PATH": str(self.root), "PYTHONUNBUFFERED": "1"}
        return clean | threads | own | extra


def candidate_roots() -> Iterator[Path]:
    """Places a checkout is looked for, best first."""
    if path := os.environ.get("COMFYUI_PATH"):
        yield Path(path).expanduser()
        return
    if PACK.parent.name == "custom_nodes":
        yield PACK.parent.parent
    yield Path.home() / "comfy" / "ComfyUI"


def host_python(root: Path) -> Path:
    """The virtual environment in or beside the checkout, else the Python that runs the tests."""
    folders = (root / "venv", root / ".venv", root.parent / "venv", root.parent / ".venv")
    found = (folder / "bin" / "python" for folder in folders if (folder / "bin" / "python").exists())
    return next(found, Path(sys.executable))


def find_host() -> Host | None:
    """The first checkout that has a main.py, or None."""
    roots = (root.resolve() for root in candidate_roots() if (root / "main.py").is_file())
    return next((Host(root, host_python(root)) for root in roots), None)
