"""Residual files in the real frontend: shown and dropped at Load Residual, drawn by the painter, in both renderers."""

from pathlib import Path
from typing import Any

import pytest

from tests.host.client.browser import SCRIPTS, Browser
from tests.host.client.discovery import PACK
from tests.host.client.server import HostServer

pytestmark = pytest.mark.browser
DEMO = PACK / "cones2" / "assets" / "toyworld" / "residuals"
RENDERERS = [pytest.param(False, id="classic"), pytest.param(True, id="nodes2", marks=pytest.mark.slow)]
DOG, MUG = "demo/dog_with_badge.safetensors", "demo/purple_yellow_mug.safetensors"


@pytest.fixture(params=RENDERERS)
def page(request: pytest.FixtureRequest, browser: Browser, host_server: HostServer) -> Any:
    browser.open(host_server.url, **{"Comfy.VueNodes.Enabled": request.param})
    for script in ("painter.js", "scene.js", "residual.js"):
        browser.add_script(SCRIPTS / script)
    return browser


def test_load_residual_shows_its_file_and_takes_another(page: Browser, host_server: HostServer) -> None:
    shown = page.call("showResiduals", [DOG, MUG])
    assert [(card["lines"][:2], card["pictures"]) for card in shown] == [
        (["“dog”", "the demo model"], 3),
        (["“mug”", "the demo model"], 3),
    ]
    ball = (DEMO / "dotted_ball.safetensors").read_bytes()
    found = page.call("dropResidual", {"name": "rex.safetensors", "bytes": list(ball)})
    assert (found["file"], found["card"]["lines"][0], found["messages"]) == ("rex.safetensors", "“ball”", [])
    stored = Path(host_server.base, "models", "residuals", "rex.safetensors")
    assert stored.read_bytes() == ball
    assert page.take_problems() == []
    found = page.call("dropResidual", {"name": "bad.pt", "bytes": [1, 2, 3]})
    assert found["file"] == "rex.safetensors" and "bad.pt: it is neither" in found["messages"][0]
    page.take_problems()  # the answer 400
    stored.unlink()


def test_the_painter_draws_a_subjects_cutout_in_its_region(page: Browser) -> None:
    rows = page.call("openScene", {"prompt": "a dog on the grass", "files": [DOG]})
    assert rows[0][:2] == ["dog", DOG]  # the phrase of the file, not its name's last word
    found = page.call("paintedCutout", DOG)
    yellow = found["withFile"]
    assert found["plain"] == found["keptOut"] != yellow
    assert yellow[0] > 140 and yellow[1] > 120 and yellow[2] < 90
    assert page.take_problems() == []
