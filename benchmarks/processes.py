"""What a second process brings: `sample` and `train-all` on the toy model, on one process and several.

    python benchmarks/processes.py [--processes 2] [--rounds 3] [--pictures 24] [--subjects 6] [--updates 80]

Runs take turns (one process, several, one, several …), each from an empty folder, every process with one thread.
Prints a Markdown table of the medians: seconds of the whole command, start and loading included, and their ratio round
by round. Stops when the results of several processes are not bit for bit those of one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cones2.assets import TOYWORLD
from cones2.concepts.residual_file import load_residual

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(path.name for path in (TOYWORLD / "subjects").iterdir() if path.is_dir())
Results = dict[str, bytes]


def main() -> None:
    args = _arguments()
    count = args.processes
    print(f"| command | jobs | 1 process, s | {count} processes, s | speed-up | same bits |\n" + "|---" * 6 + "|")
    commands = {
        "sample": (args.pictures, ["sample", "--prompt", "a mug", "--steps", "25", "--device", "cpu"]),
        "train-all": (args.subjects, ["train-all"]),
    }
    for name, (jobs, command) in commands.items():
        times: dict[int, list[float]] = {1: [], count: []}
        for _ in range(args.rounds):
            found: list[Results] = []
            for processes in times:
                with tempfile.TemporaryDirectory() as folder:
                    line = [*command, *_inputs(name, Path(folder), args)]
                    times[processes].append(_seconds(processes, line))
                    found.append(_results(Path(folder) / "out"))
            if found[0] != found[1] or not found[0]:
                raise SystemExit(f"{name}: {count} processes gave something else than one")
        ratio = statistics.median(one / several for one, several in zip(times[1], times[count], strict=True))
        one, several = (f"{statistics.median(seconds):.1f}" for seconds in times.values())
        print(f"| {name} | {jobs} | {one} | {several} | {ratio:.2f} | yes |", flush=True)


def _inputs(name: str, folder: Path, args: argparse.Namespace) -> list[str]:
    """The flags of one run, whose results go to `folder`/out."""
    if name == "sample":
        return ["--model", str(TOYWORLD), "--num-images", str(args.pictures), "--out", str(folder / "out")]
    lines = [
        f"defaults: {{model: '{TOYWORLD}', out: out, steps: {args.updates}, patience: 0, device: cpu}}",
        "subjects:",
    ]
    for number in range(args.subjects):
        subject = NAMES[number % len(NAMES)]
        images, noun = TOYWORLD / "subjects" / subject, subject.rpartition("_")[2]
        lines.append(f"  - {{subject: {noun}, name: subject_{number}, images: '{images}', seed: {number}}}")
    (folder / "all.yaml").write_text("\n".join(lines) + "\n")
    return [str(folder / "all.yaml")]


def _seconds(processes: int, command: Sequence[str]) -> float:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    line = [sys.executable, *launcher, "-m", "cones2", *command]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return time.perf_counter() - started


def _results(folder: Path) -> Results:
    """The pixels of pictures and the numbers of residuals."""
    pictures = {path.name: Image.open(path).tobytes() for path in folder.glob("*seed*.png")}
    vectors = {path.name: load_residual(path).tensor.numpy().tobytes() for path in folder.glob("*.safetensors")}
    return pictures | vectors


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (("processes", 2), ("rounds", 3), ("pictures", 24), ("subjects", 6), ("updates", 80)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    return parser.parse_args()


if __name__ == "__main__":
    main()
