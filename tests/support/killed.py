"""A training of the command line that is killed while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def kill_when(arguments: Sequence[str], table: Path, rows: int) -> None:
    """Start a process and kill it with signal 9 as soon as its CSV table has so many rows."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, cwd=table.parent.parent, env=environment, stderr=subprocess.PIPE)
    assert process.stderr
    deadline = time.monotonic() + 240
    while not table.is_file() or table.read_text().count("\n") <= rows:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
