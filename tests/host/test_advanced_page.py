"""Settings that are rarely needed, in the classic renderer of the real frontend."""

import pytest

from tests.host.client.browser import SCRIPTS, Browser

pytestmark = pytest.mark.browser
RARE = {"method", "steps", "learning_rate", "resolution", "batch_size", "accumulation", "gradient_checkpointing"}


def test_rare_settings_are_out_of_sight_until_the_button_is_pressed(frontend: Browser) -> None:
    frontend.add_script(SCRIPTS / "advanced.js")
    before, then, after = frontend.call("moreSettings", "Cones2TrainResidual")
    assert not RARE & set(before[0]["names"]) and {"subject", "folder", "recipe"} <= set(before[0]["names"])
    assert set(then[0]["names"]) - set(before[0]["names"]) == RARE | {"preview_every"}
    assert then[0]["height"] > before[0]["height"] + 150
    assert after == before and (before[1], then[1]) == ("more settings", "fewer settings")
    assert frontend.take_problems() == []
