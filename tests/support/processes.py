"""`python -m cones2` on several processes, by Accelerate's launcher or by the variables that it sets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def launch(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on so many processes under `accelerate launch`, without a GPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    launcher += ["--num_processes", str(count), "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [*launcher, "--main_process_port", str(port), "-m", "cones2", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=900)


def start(rank: int, world: int, *arguments: str) -> subprocess.Popen[str]:
    """One of several processes, as a launcher on another machine would start it."""
    variables = environment() | {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": "0"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "cones2", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=pipe, stderr=pipe, text=True)


def environment() -> dict[str, str]:
    """One thread each, as launchers have it, so that the bits can be compared."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
