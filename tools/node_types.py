"""Type-checks nodes/ as strictly as the engine: `python -m tools.node_types`.

A node pack is a package of any name, whose nodes import the engine relatively, so mypy cannot check nodes/ where
it lies: here it sees the pack through links in a package of its own. ComfyUI need not be there; what comes from
it counts as Any.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = (
    "--config-file=", "--strict", "--allow-subclassing-any", "--ignore-missing-imports", "--explicit-package-bases",
    "--untyped-calls-exclude=diffusers", "--untyped-calls-exclude=torch",
    f"--cache-dir={ROOT / '.mypy_cache' / 'nodes'}",
)  # fmt: skip


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        pack = Path(folder, "pack")
        pack.mkdir()
        (pack / "__init__.py").touch()
        for part in ("cones2", "nodes"):
            (pack / part).symlink_to(ROOT / part, target_is_directory=True)
        return subprocess.run([sys.executable, "-m", "mypy", *OPTIONS, "-p", "pack.nodes"], cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
