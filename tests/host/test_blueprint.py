"""A painter on the node of a subgraph, and the blueprint that the node search offers."""

import json

import pytest

from tests.host.client.browser import SCRIPTS, Browser
from tests.host.client.server import HostServer
from tests.host.test_painter import Page

pytestmark = pytest.mark.browser
BLUEPRINT = "Subjects in their places (Cones 2)"
both = pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])


def opened(browser: Browser, server: HostServer, vue: bool) -> Page:
    browser.open(server.url, **{"Comfy.VueNodes.Enabled": vue})
    for script in ("painter.js", "templates.js"):
        browser.add_script(SCRIPTS / script)
    return Page(browser)


@both
def test_a_promoted_layout_is_drawn_on_the_subgraphs_node(browser: Browser, host_server: HostServer, vue: bool) -> None:
    page = opened(browser, host_server, vue)
    page.open()
    page.add("mug")
    drawn = page.call("layout")
    assert page.call("promote") == ["draw_layout_document"]
    assert page.call("layout") == drawn
    page.drag((0.2, 0.5), (0.2, 0.6))
    moved = page.call("layout")
    assert moved != drawn
    [sent] = page.call("sent").values()
    assert json.loads(sent)["subjects"] == moved
    assert page.call("reopen") == moved
    assert page.call("copyHost") == 2
    page.drag((0.7, 0.5), (0.7, 0.6))  # of one of them
    texts = [json.loads(text)["subjects"] for text in page.call("sent").values()]
    assert moved in texts and len(texts) == 2 and texts[0] != texts[1]
    assert browser.take_problems() == []


@pytest.mark.parametrize("vue", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["classic", "nodes2"])
def test_the_blueprint_makes_a_picture(browser: Browser, host_server: HostServer, vue: bool) -> None:
    page = opened(browser, host_server, vue)
    assert BLUEPRINT in browser.call("blueprints")
    browser.call("empty")
    assert browser.call("openSearch")
    browser.act(["type", BLUEPRINT.partition(" (")[0]])
    assert browser.call("searchFound", BLUEPRINT)
    browser.act(["wait", 500], ["key", "Enter"])
    assert browser.call("nodeFollows")
    browser.act(["move", 300, 700], ["click", 300, 700])
    found = browser.call("onlyNode")
    assert found["title"] == BLUEPRINT
    assert (found["inputs"], found["outputs"]) == (["model", "clip", "vae", "subject"], ["picture"])
    assert "seed" in found["widgets"] and "layout_document" not in found["widgets"]
    browser.call("completeBlueprint")
    page.add("dog")
    page.add("mug")
    assert browser.call("chips") == [["dog", ""], ["mug", ""]]
    [sent] = browser.call("sent").values()
    assert [subject["name"] for subject in json.loads(sent)["subjects"]] == ["dog", "mug"]
    assert browser.call("run") == "success"
    assert browser.take_problems() == []
