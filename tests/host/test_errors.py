"""What a node failed with, in the real frontend."""

import pytest

from tests.host.client.browser import SCRIPTS, Browser

pytestmark = pytest.mark.browser


def test_an_error_is_shown_with_its_sentence_and_the_nodes_own_name(frontend: Browser) -> None:
    frontend.add_script(SCRIPTS / "errors.js")
    found = frontend.call("failToSave", "../x")
    assert found["sentence"].startswith('"../x" is not a name inside ')
    [toast] = [text for text in found["toasts"] if found["sentence"].strip() in text]
    assert "Save Residual (Cones 2)" in toast and "Keep it" not in toast
    frontend.take_problems()  # the failed run itself may be logged
