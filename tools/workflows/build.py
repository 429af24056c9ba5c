"""Writes workflows/*.json and their thumbnails: `python tools/workflows/build.py [NAME…]`.

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

HERE = Path(__file__).resolve().parent
PACK = HERE.parents[1]
sys.path[:0] = [str(HERE), str(PACK / "tests" / "host")]

from graphs import GRAPHS, Graph  # noqa: E402
from hostlink.browser import Browser, find_chromium, install_playwright  # noqa: E402
from hostlink.checkpoints import open_checkpoints  # noqa: E402
from hostlink.discovery import NO_HOST, find_host  # noqa: E402
from hostlink.server import HostServer  # noqa: E402
from hostlink.workspace import make_workspace  # noqa: E402


@contextlib.contextmanager
def open_frontend() -> Iterator[Browser]:
    """A frontend of a server that has the pack."""
    host, chromium = find_host(), find_chromium()
    if host is None or chromium is None:
        sys.exit(NO_HOST if host is None else "no Chromium found")
    with tempfile.TemporaryDirectory() as folder:
        base = make_workspace(Path(folder), open_checkpoints(host).folder)
        server = HostServer(host, base)
        browser = Browser(chromium, install_playwright(), base)
        browser.open(server.url)
        browser.add_script(HERE / "build.js")
        yield browser
        browser.close()
        server.close()


def tidy(workflow: dict, name: str) -> dict:
    """Without what differs from run to run."""
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://github.com/ComfyUI-Cones2/workflows/{name}"))
    workflow["extra"] = {}
    for node in workflow["nodes"]:
        node["pos"], node["size"] = [list(map(round, node[key])) for key in ("pos", "size")]
        node["properties"] = {key: value for key, value in node["properties"].items() if key in KEPT_PROPERTIES}
    return workflow


KEPT_PROPERTIES = ("Node name for S&R", "models")


def build(browser: Browser, name: str, graph: Graph) -> None:
    """Write one workflow and a thumbnail of its graph."""
    workflow = tidy(browser.call("build", dataclasses.asdict(graph)), name)
    path = PACK / "workflows" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    browser.call("load", workflow)
    browser.screenshot(path.with_suffix(".jpg"), type="jpeg", quality=70, width=1280, height=720)
    print(f"{path.name}: {len(workflow['nodes'])} nodes, {len(workflow['links'])} links")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the pack's workflows in the real frontend.")
    parser.add_argument("names", nargs="*", default=list(GRAPHS), choices=list(GRAPHS), metavar="NAME")
    names = parser.parse_args().names
    with open_frontend() as browser:
        for name in names:
            build(browser, name, GRAPHS[name])


if __name__ == "__main__":
    main()
