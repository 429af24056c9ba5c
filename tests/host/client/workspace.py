"""A base directory for one host process: empty model folders, and the pack under a name of its own."""

import os
from pathlib import Path

from tests.host.client.discovery import PACK

PACK_FOLDER = "Renamed_copy-1"  # users and the Manager choose the name; the host serves no web files under a space
FOLDERS = ("input", "output", "temp", "user", "custom_nodes", "models/residuals", "models/checkpoints")


def make_workspace(base: Path, checkpoints: Path, pack_folder: str = PACK_FOLDER) -> Path:
    """Lay out `base`; checkpoints and pack are links, so nothing is copied and the pack's own name is unused."""
    for folder in FOLDERS:
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "models" / "checkpoints").rmdir()
    os.symlink(checkpoints, base / "models" / "checkpoints", target_is_directory=True)
    os.symlink(PACK, base / "custom_nodes" / pack_folder, target_is_directory=True)
    return base
