"""A newcomer's path: from the empty page to a painted picture of their own, with a mouse alone."""

from pathlib import Path
from typing import Any

import pytest

from tests.host.client.browser import SCRIPTS, Browser
from tests.host.client.server import HostServer
from tests.host.client.workspace import PACK_FOLDER
from tests.host.test_painter import Page

pytestmark = pytest.mark.browser
MOST_ACTIONS = 12


class Newcomer:
    """Presses and drags, and counts; types nothing."""

    def __init__(self, browser: Browser):
        self.page = Page(browser)
        self.actions = 0

    def press(self, what: str, name: str = "") -> None:
        self.page.browser.act(["click", *self.page.call("find", [what, name])])
        self.actions += 1

    def press_tool(self, name: str) -> None:
        self.page.click(name)
        self.actions += 1

    def drag(self, *places: tuple[float, float]) -> None:
        self.page.drag(*places)
        self.actions += 1


@pytest.mark.parametrize("vue", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["classic", "nodes2"])
def test_a_painted_picture_in_twelve_actions(
    browser: Browser, host_server: HostServer, vue: bool, tmp_path: Path
) -> None:
    browser.open(host_server.url, **{"Comfy.VueNodes.Enabled": vue})
    for script in ("painter.js", "templates.js"):
        browser.add_script(SCRIPTS / script)
    user = Newcomer(browser)
    user.press("templates")
    user.press("pack", PACK_FOLDER)
    user.press("card", "1 Start here")
    assert "Cones2Scene" in browser.call("opened")
    before = browser.call("layout")
    user.drag((0.75, 0.5), (0.75, 0.75))  # the dog goes down
    user.press_tool("Brush (B)")
    user.drag((0.65, 0.15), (0.75, 0.2), (0.9, 0.15))  # and may be up there, too
    browser.call("watch")
    user.press("run")
    assert browser.call("watchedEnd") == "success"
    assert user.actions <= MOST_ACTIONS
    assert user.actions == 7
    check_drawn(before, browser.call("layout"))
    [sent] = browser.call("sent").values()
    assert sent == browser.call("documentText")
    assert browser.call("picturesShown")["SaveImage"] == 4
    assert browser.take_problems() == []


def check_drawn(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    [tree, dog] = after
    assert tree == before[0]
    assert dog["shapes"][0]["box"][1] > before[1]["shapes"][0]["box"][1]
    assert "stroke" in dog["shapes"][1]
