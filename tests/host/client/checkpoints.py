"""Synthetic checkpoints, written once per version of their generator into a cache outside the repository."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.host.client.discovery import INSIDE, Host

GENERATOR = INSIDE / "synthetic.py"
KEEP_DAYS = 7
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cones2-tests"


def drop_old_versions(current: Path) -> None:
    """Remove checkpoints of other generator versions that nobody used for a week."""
    for folder in current.parent.glob("checkpoints-*"):
        if folder != current and time.time() - folder.stat().st_mtime > KEEP_DAYS * 86400:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Checkpoints:
    """The cache folder; `make` fills it on demand."""

    host: Host
    folder: Path

    def make(self, *names: str) -> str:
        """Ensure checkpoints exist; the file name of the last, as CheckpointLoaderSimple lists it."""
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            missing = [name for name in names if not (self.folder / f"{name}.safetensors").exists()]
            if missing:
                self._write(missing)
        return f"{names[-1]}.safetensors"

    def _write(self, names: list[str]) -> None:
        command = [str(self.host.python), str(GENERATOR), str(self.folder), *names]
        done = subprocess.run(command, env=self.host.environment(), capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"could not write the checkpoints {names}:\n{done.stderr[-2000:]}")


def open_checkpoints(host: Host) -> Checkpoints:
    """The cache for this version of the generator, swept of old versions."""
    folder = CACHE / f"checkpoints-{hashlib.sha256(GENERATOR.read_bytes()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    drop_old_versions(folder)
    return Checkpoints(host, folder)
