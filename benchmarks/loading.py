"""What the pack adds to the start of ComfyUI: processor time of its loading against that of the host before it.

    python benchmarks/loading.py [--runs 5]

Each run is a process of its own; the least of them counts. Prints one line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from tests.host.client.checkpoints import open_checkpoints
from tests.host.client.discovery import INSIDE, NO_HOST, find_host
from tests.host.client.workspace import PACK_FOLDER, make_workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    host = find_host()
    if host is None:
        raise SystemExit(NO_HOST)
    with tempfile.TemporaryDirectory() as folder:
        base = make_workspace(Path(folder), open_checkpoints(host).folder)
        command = [str(host.python), str(INSIDE / "loading.py"), str(base / "custom_nodes" / PACK_FOLDER)]
        environment = host.environment(CONES2_BASE=str(base))
        found = [
            json.loads(subprocess.check_output(command, env=environment, text=True).splitlines()[-1])
            for _ in range(runs)
        ]
    pack, before = (min(one[key] for one in found) for key in ("processor", "host"))
    print(f"pack {pack:.3f} s, host before it {before:.3f} s: {pack / before:.1%} (processor time, least of {runs})")


if __name__ == "__main__":
    main()
