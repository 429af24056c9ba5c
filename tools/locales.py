"""Writes locales/en/nodeDefs.json from the schemas: `python -m tools.locales`.

Needs a ComfyUI host. Says for the other languages which keys are missing or left over.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.host.client.checkpoints import open_checkpoints
from tests.host.client.discovery import NO_HOST, find_host
from tests.host.client.worker import HostWorker
from tests.host.client.workspace import make_workspace

PACK = Path(__file__).resolve().parents[1]


def read_schemas() -> dict[str, Any]:
    """The schemas of the pack as the host loads them, as node definitions."""
    host = find_host()
    if host is None:
        sys.exit(NO_HOST)
    checkpoints = open_checkpoints(host)
    with tempfile.TemporaryDirectory() as folder:
        worker = HostWorker(host, make_workspace(Path(folder), checkpoints.folder), checkpoints)
        found: dict[str, Any] = worker.documentation.node_defs()
        worker.close()
    return found


def paths(tree: Any, prefix: str = "") -> set[str]:
    """The dotted names of all texts."""
    if not isinstance(tree, dict):
        return {prefix}
    return {path for key, value in tree.items() for path in paths(value, f"{prefix}.{key}".lstrip("."))}


def main() -> None:
    definitions = read_schemas()
    english = PACK / "locales" / "en" / "nodeDefs.json"
    english.parent.mkdir(parents=True, exist_ok=True)
    english.write_text(json.dumps(definitions, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in sorted(PACK.glob("locales/*/nodeDefs.json")):
        found = paths(json.loads(path.read_text(encoding="utf-8")))
        wanted = paths(definitions)
        print(f"{path.parent.name}: missing {sorted(wanted - found)}, left over {sorted(found - wanted)}")


if __name__ == "__main__":
    main()
