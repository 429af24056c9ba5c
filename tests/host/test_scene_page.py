"""Scene in the real frontend: the five-node graph, with subjects from files, in both renderers."""

import pytest

from tests.host.client.browser import SCRIPTS, Browser
from tests.host.client.server import HostServer
from tests.host.test_painter import Page

pytestmark = pytest.mark.browser
FILES = ["demo/blue_white_dog.safetensors", "demo/purple_yellow_mug.safetensors"]


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
def test_five_nodes_make_a_picture_of_subjects_in_their_places(
    browser: Browser, host_server: HostServer, vue: bool
) -> None:
    browser.open(host_server.url, **{"Comfy.VueNodes.Enabled": vue})
    for script in ("painter.js", "scene.js"):
        browser.add_script(SCRIPTS / script)
    rows = browser.call("openScene", {"prompt": "a dog and a mug on the grass", "files": FILES})
    assert rows == [["dog", FILES[0], "1"], ["mug", FILES[1], "1"], [""]]
    assert browser.call("chips") == [["dog", ""], ["mug", ""]]
    page = Page(browser)
    page.drag((0.25, 0.5), (0.25, 0.6))
    drawn = browser.call("layout")
    assert [(subject["residual"], subject["strength"]) for subject in drawn] == [(file, 1) for file in FILES]
    assert browser.call("run") == "success"
    assert browser.call("reopen") == drawn
    sent = browser.call("prompt")["output"]
    assert len(sent) == 5 and "layout" not in next(
        node["inputs"] for node in sent.values() if node["class_type"] == "Cones2LayoutGuidedKSampler"
    )
    assert browser.take_problems() == []
