"""The widget `preset` in the real frontend."""

from __future__ import annotations

import pytest

from tests.host.client.browser import SCRIPTS, Browser

pytestmark = pytest.mark.browser


def test_widgets_that_a_preset_replaces_are_gray_while_it_is_chosen(frontend: Browser) -> None:
    frontend.add_script(SCRIPTS / "presets.js")
    found = frontend.call("choosePreset", "recommended")
    assert found["before"] == found["after"] == []
    replaced = ["guidance_weight", "guided_steps", "recurrence", "negative_mode", "outside_weight"]
    assert found["chosen"] == found["loaded"] == replaced
    assert found["last"] == "recommended"
    assert frontend.take_problems() == []
