"""The upload of guidance configs in the real frontend."""

import re

import pytest

from tests.host.client.browser import SCRIPTS, Browser
from tests.host.client.server import HostServer

pytestmark = pytest.mark.browser


def test_dropped_files_land_together_and_are_chosen(frontend: Browser, host_server: HostServer) -> None:
    frontend.add_script(SCRIPTS / "upload.js")
    files = {"beach.json": '[{"prompt": "a dog"}]', "layout.png": "picture", "dog.pt": "residual"}
    found = frontend.call("dropConfig", files)
    assert re.fullmatch(r"cones2/beach-[0-9a-f]{8}/beach\.json", found["value"])
    assert found["sent"] == found["value"] and found["buttons"] == 1
    folder = (host_server.base / "input" / found["value"]).parent
    assert {path.name: path.read_text() for path in folder.iterdir()} == files
    again = frontend.call("dropConfig", files | {"layout.png": "another picture"})
    assert again["value"] != found["value"]
    assert (folder / "layout.png").read_text() == "picture"
    assert frontend.take_problems() == []
