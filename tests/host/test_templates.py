"""The templates of the menu on a fresh installation: they open without a fault, lie side by side, and run."""

import io
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.host.client.browser import SCRIPTS, Browser
from tests.host.client.checkpoints import Checkpoints
from tests.host.client.discovery import Host
from tests.host.client.server import HostServer
from tests.host.client.workflows import WORKFLOWS, all_nodes, quick, read_workflow
from tests.host.client.workspace import PACK_FOLDER, make_workspace
from tests.host.test_painter import Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("host_server")]
NAMES = [
    "1 Start here",
    "2 Your checkpoint",
    "3 Photos to picture",
    "4 Published config",
    "5 Three subjects and a second pass",
    "6 Photos and places.app",
    "7 Two trained concepts",
]
OF_A_CHECKPOINT = ("2 Your checkpoint", "3 Photos to picture", "5 Three subjects and a second pass")
APP = next(path for path in WORKFLOWS if path.stem.endswith(".app"))
MOST_NODES = 8
each_template = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def fresh(host: Host, checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    """A server as it is after the first start: nobody has put a file anywhere."""
    server = HostServer(host, make_workspace(tmp_path_factory.mktemp("fresh"), checkpoints.folder))
    yield server
    server.close()


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes2"])
def page(request: pytest.FixtureRequest, browser: Browser, fresh: HostServer) -> Browser:
    return opened(browser, fresh, request.param)


def opened(browser: Browser, server: HostServer, vue: bool) -> Browser:
    browser.open(server.url, **{"Comfy.VueNodes.Enabled": vue})
    for script in ("painter.js", "templates.js"):
        browser.add_script(SCRIPTS / script)
    return browser


def as_graph(path: Path) -> dict[str, Any]:
    """A workflow without its app view."""
    return read_workflow(path) | {"extra": {}}


def test_names_begin_with_their_order() -> None:
    assert [path.stem for path in WORKFLOWS] == NAMES


@each_template
def test_is_small_and_says_what_it_is(path: Path) -> None:
    workflow = read_workflow(path)
    assert len(workflow["nodes"]) <= MOST_NODES
    notes = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    assert path == APP or len(notes[0]) > 200
    assert not any("`" in note for note in notes)  # code is unreadable in the dark theme of Nodes 2.0
    with Image.open(path.with_suffix(".jpg")) as thumbnail:
        assert thumbnail.format == "JPEG" and min(thumbnail.size) >= 600


@each_template
def test_has_no_node_that_the_host_gives_up(path: Path, fresh: HostServer) -> None:
    known = fresh.get("/object_info")
    used = {node["type"] for node in all_nodes(read_workflow(path))} & set(known)
    assert [kind for kind in sorted(used) if known[kind].get("deprecated")] == []


def test_opens_without_a_fault_and_with_no_node_over_another(page: Browser) -> None:
    faults: list[object] = []
    for path in WORKFLOWS:
        loaded = page.call("load", as_graph(path))
        allowed = {"CheckpointLoaderSimple"} if path.stem in OF_A_CHECKPOINT else set()
        if loaded["missing"] or not set(loaded["marked"]) <= allowed or (loaded["dialogs"] and not allowed):
            faults.append((path.stem, loaded))
        for graph in page.call("graphs"):
            faults += [(path.stem, *pair) for pair in overlapping(page.call("boxes", graph))]
    assert faults == []
    assert page.take_problems() == []


def overlapping(boxes: list[list[Any]]) -> list[tuple[Any, Any]]:
    """Pairs of [title, left, top, right, bottom] that share a place."""

    def share(one: list[Any], other: list[Any]) -> bool:
        return all(one[i] < other[i + 2] and other[i] < one[i + 2] for i in (1, 2))

    return [pair for pair in combinations(boxes, 2) if share(*pair)]


@pytest.mark.slow
def test_both_renderers_send_the_same(browser: Browser, fresh: HostServer) -> None:
    prompts = []
    for vue in (True, False):
        page = opened(browser, fresh, vue)
        for path in WORKFLOWS:
            page.call("load", as_graph(path))
            first = page.call("prompt")
            page.call("load", first["workflow"])
            assert page.call("prompt")["output"] == first["output"]
            prompts.append(first["output"])
    assert prompts[: len(WORKFLOWS)] == prompts[len(WORKFLOWS) :]


@each_template
def test_runs(browser: Browser, fresh: HostServer, checkpoints: Checkpoints, path: Path) -> None:
    page = opened(browser, fresh, vue=False)
    page.call("load", as_graph(path))
    checkpoint = checkpoints.make("sd15") if path.stem in OF_A_CHECKPOINT else ""
    run = fresh.run(quick(page.call("prompt")["output"], checkpoint), 300)
    assert (run.status, run.error) == ("success", "")
    images = [image for output in run.outputs.values() for image in output.get("images", [])]
    pictures = [Image.open(io.BytesIO(fresh.image(image))).convert("RGB") for image in images]
    assert any(picture.width >= 64 and picture.getextrema() != ((0, 0),) * 3 for picture in pictures)


def test_the_menu_shows_them_with_pictures(browser: Browser, fresh: HostServer) -> None:
    page = opened(browser, fresh, vue=False)
    for what in (["templates", ""], ["pack", PACK_FOLDER]):
        page.act(["click", *page.call("find", what)])
    page.act(["wait", 1500])
    cards = page.call("shownCards")
    assert sorted(cards) == NAMES and all(width >= 600 for width in cards.values())


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
def test_the_app_shows_prompt_layout_and_photos(browser: Browser, fresh: HostServer, vue: bool) -> None:
    page = opened(browser, fresh, vue)
    page.call("load", read_workflow(APP))
    page.act(["wait", 1500], ["key", "Escape"], ["wait", 500])  # the host's tour of apps
    fields = ["prompt", "layout", "photo 1", "photo 2", "photo 3", "kind", "looks, in words"]
    assert page.call("appFields") == fields
    before = page.call("layout")
    Page(page).drag((0.25, 0.6), (0.35, 0.5))
    drawn = page.call("layout")
    assert drawn != before and drawn[1] == before[1]
    assert [text for text in page.call("sent").values() if text] != []
    [sent] = page.call("sent").values()
    assert sent == page.call("documentText")
    assert page.take_problems() == []


def test_the_samples_are_put_into_the_input_folder_once(fresh: HostServer) -> None:
    found = {path.relative_to(fresh.base / "input").as_posix() for path in (fresh.base / "input").rglob("*.*")}
    assert {f"sample_dog_photo_{number}.jpg" for number in (1, 2, 3)} <= found
    assert {"cones2/demo/guidance_config.json", "cones2/demo/layout.png", "sample_toy_dog_1.png"} <= found
