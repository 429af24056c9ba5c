"""The Layout Painter in the real frontend, with real pointers and keys, in both renderers; what the server draws."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.host.client.browser import SCRIPTS, Browser
from tests.host.client.server import HostServer
from tests.host.test_workflows import PACK

pytestmark = pytest.mark.browser
DOG, MUG = [0.05, 0.15, 0.4, 0.7], [0.55, 0.15, 0.4, 0.7]


class Page:
    """The frontend with a painter: `drag` and others take places in fractions of its picture."""

    def __init__(self, browser: Browser):
        self.browser = browser

    def open(self, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.browser.call("openPainter", options)
        return found

    def call(self, name: str, argument: Any = None) -> Any:
        return self.browser.call(name, argument)

    def at(self, place: tuple[float, float]) -> list[float]:
        box = self.call("where")
        return [box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]]

    def drag(self, *places: tuple[float, float], button: str = "left", hold: str = "") -> None:
        points = [self.at(place) for place in places]
        steps = [["move", *points[0]], *([["hold", hold]] if hold else []), ["down", button]]
        steps += [["move", *point] for point in points[1:]] + [["up", button]]
        self.browser.act(*steps, *([["release", hold]] if hold else []))

    def click(self, name: str) -> None:
        self.browser.act(["click", *self.call("pointOf", name)])

    def keys(self, *keys: str) -> None:
        self.browser.act(*[["key", key] for key in keys])

    def add(self, word: str) -> None:
        self.click("Add a subject")
        self.browser.act(["type", word], ["key", "Enter"])

    def shapes(self) -> dict[str, list[Any]]:
        return {subject["name"]: subject["shapes"] for subject in self.call("layout")}


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes2"])
def page(request: pytest.FixtureRequest, browser: Browser, host_server: HostServer) -> Page:
    browser.open(host_server.url, **{"Comfy.VueNodes.Enabled": request.param})
    browser.add_script(SCRIPTS / "painter.js")
    return Page(browser)


def two(page: Page, **options: Any) -> None:
    """A painter of "dog", which the linked residual is, and "mug"."""
    page.open(**options)
    page.add("mug")
    assert page.shapes() == {"dog": [{"box": DOG}], "mug": [{"box": MUG}]}


def test_regions_are_drawn_moved_painted_erased_and_undone(page: Page, tmp_path: Path) -> None:
    two(page)
    steps = [page.shapes()]
    page.drag((0.2, 0.5), (0.2, 0.6))
    steps.append(page.shapes())
    assert steps[-1]["dog"] == [{"box": pytest.approx([0.05, 0.25, 0.4, 0.7], abs=0.06)}] != [{"box": DOG}]
    page.drag((0.45, 0.95), (0.5, 0.99))  # the corner of what is chosen
    steps.append(page.shapes())
    assert steps[-1]["dog"][0]["box"][2] > DOG[2]
    page.keys("2", "o")
    page.drag((0.6, 0.02), (0.9, 0.1))
    steps.append(page.shapes())
    assert [list(shape) for shape in steps[-1]["mug"]] == [["ellipse"]]  # the column made way
    page.keys("b")
    page.drag((0.6, 0.95), (0.75, 0.9), (0.95, 0.95))
    steps.append(page.shapes())
    page.drag((0.8, 0.9), (0.8, 0.99), button="right")
    steps.append(page.shapes())
    assert steps[-1]["mug"][1]["size"] == 0.08 and steps[-1]["mug"][2]["erase"] is True
    for expected in reversed(steps[:-1]):
        page.keys("Control+z")
        assert page.shapes() == expected
    for expected in steps[1:]:
        page.keys("Control+y")
        assert page.shapes() == expected
    assert page.browser.take_problems() == []


def test_the_layout_survives_saving_copying_and_subgraphs(page: Page) -> None:
    two(page)
    page.drag((0.2, 0.5), (0.25, 0.4))
    drawn = page.call("layout")
    assert page.call("reopen") == drawn
    copies = page.call("copyNode")
    assert [json.loads(text)["subjects"] for text in copies] == [drawn, drawn]
    assert json.loads(page.call("intoSubgraph"))["subjects"] == drawn


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    two(page)
    page.keys("Control+z")
    assert list(page.shapes()) == ["dog"]
    page.keys("+")
    page.browser.act(["type", "mug"], ["key", "Enter"])
    page.keys("1", "Enter", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowLeft")
    assert page.shapes()["dog"] == [{"box": pytest.approx([0.06, 0.2, 0.39, 0.7])}]
    page.keys("n", "d", "Delete")
    assert len(page.shapes()["dog"]) == 2
    page.keys("PageUp")
    assert list(page.shapes()) == ["mug", "dog"]
    before = page.shapes()
    page.keys("Escape", "Delete")
    assert page.shapes() == before  # nothing is chosen


def test_regions_can_be_drawn_where_others_are(page: Page) -> None:
    two(page)
    page.keys("1")
    page.drag((0.6, 0.3), (0.8, 0.6), hold="Control")
    assert page.shapes()["mug"] == [{"box": MUG}]
    assert page.shapes()["dog"] == [{"box": pytest.approx([0.6, 0.3, 0.2, 0.3], abs=0.03)}]


def test_chips_say_what_the_prompt_lacks(page: Page) -> None:
    two(page)
    assert page.call("chips") == [["dog", ""], ["mug", ""]]
    page.call("setText", "a dog and a muggle")
    assert page.call("chips") == [["dog", ""], ["mug", "missing"]]
    page.call("setText", "a dog and a mug")
    page.click("More: copy, mirror, import, export, background")
    page.click("Clear region")
    assert page.call("chips") == [["dog", ""], ["mug", "empty"]]


def test_a_zoomed_graph_changes_nothing(page: Page) -> None:
    two(page, scale=0.6)
    page.drag((0.2, 0.5), (0.2, 0.4))
    assert page.shapes()["dog"][0]["box"] == pytest.approx([0.05, 0.05, 0.4, 0.7], abs=0.06)


def test_the_wheel_zooms_the_graph_and_with_alt_the_brush(page: Page) -> None:
    two(page)
    page.keys("b")
    before = page.call("scaleOf")
    page.browser.act(["move", *page.at((0.5, 0.5))], ["hold", "Alt"], ["wheel", -100], ["release", "Alt"])
    assert page.call("scaleOf") == before
    page.drag((0.5, 0.9), (0.6, 0.9))
    assert next(shape["size"] for shapes in page.shapes().values() for shape in shapes if "size" in shape) > 0.08
    page.browser.act(["move", *page.at((0.5, 0.5))], ["wheel", -100], ["wait", 300])
    assert page.call("scaleOf") > before


def test_an_edit_is_one_step_of_the_workflow_too(page: Page) -> None:
    two(page)
    before = page.call("history")
    page.drag((0.2, 0.5), (0.2, 0.4))
    page.browser.act(["wait", 300])
    assert page.call("history") == before + 1


def test_a_region_is_copied_to_another_subject(page: Page) -> None:
    two(page)
    page.drag((0.2, 0.5), (0.2, 0.5))  # a click chooses it
    page.keys("Control+c", "2", "Control+v")
    assert page.shapes() == {"dog": [{"box": DOG}], "mug": [{"box": DOG}]}  # the column made way


def test_a_newer_layout_is_kept_until_something_is_drawn(page: Page) -> None:
    two(page)
    newer = '{"version": 2, "layers": []}'
    assert page.call("foreign", newer) == [newer, 1]


def test_the_properties_panel_shows_a_sentence(page: Page) -> None:
    two(page)
    assert page.call("drawInPanel") == {"written": ["2 subjects, 2 shapes: draw in the node"], "same": True}


def test_files_that_are_dropped_become_layouts(page: Page) -> None:
    two(page)
    painted = (PACK / "workflows" / "assets" / "two_subjects_layout.png").read_bytes()
    found = page.call("drop", {"layout.png": list(painted)})
    assert found["said"] == ""
    assert [subject["name"] for subject in found["layout"]] == ["dog", "mug"]
    assert all(subject["shapes"] for subject in found["layout"])
    config = {"color_context": {"255,0,0": ["cat", 3]}}
    found = page.call("drop", {"guidance_config.json": list(json.dumps(config).encode())})
    assert [(subject["name"], subject["weight"]) for subject in found["layout"]] == [("cat", 3)]
    assert "not JSON" in page.call("drop", {"x.json": [123]})["said"]
    page.keys("Control+z")
    assert page.browser.take_problems() == []


def masks_of(server: HostServer, prompt: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """A run of what the page would send, without its sampler; the masks that the server drew."""
    kinds = ("Cones2LayoutPainter", "PreviewImage", "MaskToImage", "LoadImage", "Cones2LoadResidual")
    run = server.run({key: node for key, node in prompt.items() if node["class_type"] in kinds})
    assert (run.status, run.error) == ("success", "")
    for output in run.outputs.values():
        pictures = [Image.open(io.BytesIO(server.image(image))).convert("L") for image in output.get("images", [])]
        if pictures and pictures[0].size == (64, 64):
            return run.outputs, [np.asarray(picture) > 127 for picture in pictures]
    raise AssertionError("no masks of 64 × 64")


def test_the_server_draws_what_was_drawn(page: Page, host_server: HostServer) -> None:
    two(page)
    page.keys("2", "o")
    page.drag((0.55, 0.05), (0.95, 0.45))
    _, [dog, mug] = masks_of(host_server, page.call("prompt")["output"])
    ideal = np.zeros((64, 64), dtype=bool)
    ideal[10:54, 3:29] = True  # the centers of these cells lie in DOG
    assert (dog == ideal).all()
    [x, y, width, height] = page.shapes()["mug"][0]["ellipse"]
    rows, columns = (np.mgrid[:64, :64] + 0.5) / 64
    ideal = ((columns - x - width / 2) / (width / 2)) ** 2 + ((rows - y - height / 2) / (height / 2)) ** 2 < 1
    assert (mug == ideal).all()


def test_a_connected_picture_lies_behind(page: Page, host_server: HostServer) -> None:
    Image.new("RGB", (32, 32), "red").save(host_server.base / "input" / "behind.png")
    two(page, image="behind.png")
    assert page.call("background")


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
def test_fingers_draw_on_a_dense_screen(browser: Browser, host_server: HostServer, vue: bool) -> None:
    device = {"hasTouch": True, "deviceScaleFactor": 2}
    browser.open_on(device, host_server.url, **{"Comfy.VueNodes.Enabled": vue})
    browser.add_script(SCRIPTS / "painter.js")
    page = Page(browser)
    two(page)
    box = page.call("where")
    assert box["pixels"][0] == pytest.approx(2 * box["width"], abs=2)
    page.click("Brush (B)")
    browser.act(["touch", [page.at(place) for place in ((0.1, 0.95), (0.3, 0.92), (0.5, 0.95))]])
    [stroke] = page.shapes()["mug"]
    assert len(stroke["stroke"]) >= 2 and "erase" not in stroke
    page.call("rest")
    drawn, scale, middle = page.shapes(), page.call("scaleOf"), page.at((0.5, 0.5))
    near, far = [page.at((0.45, 0.5)), page.at((0.55, 0.5))], [page.at((0.3, 0.5)), page.at((0.7, 0.5))]
    browser.act(["pinch", near, far])
    assert page.call("where")["width"] == pytest.approx(4 * box["width"], rel=0.05)
    assert page.at((0.5, 0.5)) == pytest.approx(middle, abs=3)
    assert (page.shapes(), page.call("scaleOf")) == (drawn, scale)  # two fingers draw nothing
    browser.act(["touch", [middle, page.at((0.55, 0.5))]])
    assert len(page.shapes()["mug"]) == 2
    browser.act(["pinch", far, near])
    assert page.call("where")["width"] == pytest.approx(box["width"], rel=0.05)
    assert browser.take_problems() == []
