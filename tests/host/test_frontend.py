"""The pack in the real frontend."""

from hostlink.browser import Browser


def test_page_loads_with_the_pack_and_without_errors(frontend: Browser) -> None:
    assert frontend.call("dialogs") == []
    assert frontend.take_problems() == []
