"""Writes workflows/*.json and subgraphs/*.json: `python -m tools.workflows.build [NAME…]`.

Needs what the browser tests need: a ComfyUI host, Chromium, node and npm. Run it after a node's inputs or
outputs changed; the tests then show whether the files still load, round-trip and execute. `thumbnails.py` makes the
pictures beside them.
"""

import argparse
import contextlib
import dataclasses
import json
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.host.client.browser import NO_BROWSER, Browser, find_chromium, install_playwright
from tests.host.client.checkpoints import open_checkpoints
from tests.host.client.discovery import NO_HOST, find_host
from tests.host.client.server import HostServer
from tests.host.client.workspace import make_workspace

from .blueprint import CATEGORY
from .graphs import BLUEPRINTS, GRAPHS
from .parts import BACKGROUND_NAME, SD15_NAME

HERE = Path(__file__).resolve().parent
PACK = HERE.parents[1]
# A bare canvas for the pictures
SETTINGS = {"Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False, "Comfy.Graph.CanvasMenu": False}
README_GRAPH = "1 Start here"
KEPT_PROPERTIES = ("Node name for S&R", "models", "cones2_background")
IDS = "https://github.com/cones2/ComfyUI-Cones2/workflows/"  # a name space, not an address: ids never change
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@contextlib.contextmanager
def open_frontend() -> Iterator[tuple[Browser, HostServer]]:
    """The frontend of a server that has the pack and the files that the workflows ask for."""
    host, chromium = find_host(), find_chromium()
    if host is None or chromium is None:
        sys.exit(NO_HOST if host is None else NO_BROWSER)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        base = make_workspace(Path(folder), open_checkpoints(host).folder, "ComfyUI-Cones2")
        supply_models(base)
        server = HostServer(host, base)
        stack.callback(server.close)
        browser = Browser(chromium, install_playwright(), base)
        stack.callback(browser.close)
        browser.open(server.url, **SETTINGS)
        browser.add_script(HERE / "build.js")
        yield browser, server


def supply_models(base: Path) -> None:
    """Empty files under the names that the workflows use, so that nothing is marked as missing."""
    (base / "models" / "checkpoints").unlink()
    for folder, name in (("checkpoints", SD15_NAME), ("background_removal", BACKGROUND_NAME)):
        (base / "models" / folder).mkdir(parents=True, exist_ok=True)
        (base / "models" / folder / name).touch()


def tidy(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """Without what differs from run to run."""
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, IDS + name))
    workflow["extra"] = {key: value for key, value in workflow.get("extra", {}).items() if key.startswith("linear")}
    inside = workflow.get("definitions", {}).get("subgraphs", [])
    for node in (node for graph in (workflow, *inside) for node in graph["nodes"]):
        node["pos"], node["size"] = [list(map(round, node[key])) for key in ("pos", "size")]
        properties = node["properties"]
        node["properties"] = {key: properties[key] for key in KEPT_PROPERTIES if properties.get(key)}
    return with_lasting_ids(workflow, name)


def with_lasting_ids(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """The ids of subgraphs and of their slots, which the frontend draws at random, in the order of their appearance."""
    own, known = workflow["id"], dict[str, str]()

    def lasting(found: re.Match[str]) -> str:
        if found.group() == own:
            return own
        return known.setdefault(found.group(), str(uuid.uuid5(uuid.NAMESPACE_URL, f"{IDS}{name}#{len(known)}")))

    replaced: dict[str, Any] = json.loads(_UUID.sub(lasting, json.dumps(workflow)))
    return replaced


def build(browser: Browser, name: str, folder: Path) -> None:
    """Write one workflow; for the README's, a picture of its graph after a run."""
    graph = {**GRAPHS, **BLUEPRINTS}[name]
    workflow = tidy(browser.call("build", dataclasses.asdict(graph)), name)
    if name in BLUEPRINTS:  # which the frontend does not write
        workflow["definitions"]["subgraphs"][0]["category"] = CATEGORY
    path = folder / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(workflow['nodes'])} nodes, {len(workflow['links'])} links", flush=True)
    if name == README_GRAPH:
        browser.call("load", workflow)
        assert browser.call("run") == "success"
        browser.call("bare")
        browser.screenshot(PACK / "docs" / "graph.png", width=2400, height=1300)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the pack's workflows in the real frontend.")
    names = [*GRAPHS, *BLUEPRINTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; all by default")
    chosen = parser.parse_args().names or names
    with open_frontend() as (browser, _):
        for name in chosen:
            build(browser, name, PACK / ("workflows" if name in GRAPHS else "subgraphs"))


if __name__ == "__main__":
    main()
