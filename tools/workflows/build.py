"""Writes workflows/*.json, their thumbnails and docs/graph.png: `python -m tools.workflows.build [NAME…]`.

Needs what the browser tests need: a ComfyUI host, Chromium, node and npm. Run it after a node's inputs or
outputs changed; the tests then show whether the files still load, round-trip and execute.
"""

import argparse
import contextlib
import dataclasses
import json
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
from tests.host.client.workflows import supply_files
from tests.host.client.workspace import make_workspace

from .graphs import GRAPHS
from .parts import SD15_NAME, SD21_NAME, Graph

HERE = Path(__file__).resolve().parent
PACK = HERE.parents[1]
# A bare canvas for the pictures
SETTINGS = {"Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False, "Comfy.Graph.CanvasMenu": False}
README_GRAPH = "two_subjects_color_layout"
KEPT_PROPERTIES = ("Node name for S&R", "models")
IDS = "https://github.com/cones2/ComfyUI-Cones2/workflows/"  # a name space, not an address: ids never change


@contextlib.contextmanager
def open_frontend() -> Iterator[Browser]:
    """A frontend of a server that has the pack and the files that the workflows ask for."""
    host, chromium = find_host(), find_chromium()
    if host is None or chromium is None:
        sys.exit(NO_HOST if host is None else NO_BROWSER)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        base = make_workspace(Path(folder), open_checkpoints(host).folder, "ComfyUI-Cones2")
        supply_files(base)
        supply_checkpoints(base)
        server = HostServer(host, base)
        stack.callback(server.close)
        browser = Browser(chromium, install_playwright(), base)
        stack.callback(browser.close)
        browser.open(server.url, **SETTINGS)
        browser.add_script(HERE / "build.js")
        yield browser


def supply_checkpoints(base: Path) -> None:
    """Empty files under the names that the workflows use, so that nothing is marked as missing."""
    (base / "models" / "checkpoints").unlink()
    (base / "models" / "checkpoints").mkdir()
    for name in (SD15_NAME, SD21_NAME):
        (base / "models" / "checkpoints" / name).touch()


def tidy(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """Without what differs from run to run."""
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, IDS + name))
    workflow["extra"] = {}
    for node in workflow["nodes"]:
        node["pos"], node["size"] = [list(map(round, node[key])) for key in ("pos", "size")]
        properties = node["properties"]
        node["properties"] = {key: properties[key] for key in KEPT_PROPERTIES if properties.get(key)}
    return workflow


def build(browser: Browser, name: str, graph: Graph) -> None:
    """Write one workflow and a thumbnail of its graph, in which the previews of layouts are executed."""
    workflow = tidy(browser.call("build", dataclasses.asdict(graph)), name)
    path = PACK / "workflows" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    browser.call("load", workflow)
    if previews := browser.call("idsOf", "PreviewImage"):
        assert browser.call("run", previews) == "success"
    browser.call("bare")
    browser.screenshot(path.with_suffix(".jpg"), type="jpeg", quality=80, width=1400, height=800)
    if name == README_GRAPH:
        browser.screenshot(PACK / "docs" / "graph.png", width=2400, height=1300)
    print(f"{path.name}: {len(workflow['nodes'])} nodes, {len(workflow['links'])} links")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the pack's workflows in the real frontend.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(GRAPHS)}; all by default")
    names = parser.parse_args().names or list(GRAPHS)
    with open_frontend() as browser:
        for name in names:
            build(browser, name, GRAPHS[name])


if __name__ == "__main__":
    main()
