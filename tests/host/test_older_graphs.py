"""Graphs of earlier versions of the pack, in the real frontend."""

import pytest

from tests.host.client.browser import SCRIPTS, Browser

pytestmark = pytest.mark.browser


def test_links_values_and_the_names_of_shipped_files_stay(frontend: Browser) -> None:
    frontend.add_script(SCRIPTS / "older.js")
    found = frontend.call("openOlder")
    assert found["marked"] == []
    assert found["file"] == "demo/blue_white_dog.safetensors"
    assert found["layout"] == {"width": 640, "height": 480, "subjects": "dog", "weight": 3, "boxes": ["2", 1]}
    assert frontend.take_problems() == []
