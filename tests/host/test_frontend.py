"""The pack in the real frontend."""

from tests.host.client.browser import Browser
from tests.host.client.discovery import PACK
from tests.host.client.server import HostServer
from tests.host.client.workflows import read_workflow


def test_page_loads_with_the_pack_and_without_errors(frontend: Browser, host_server: HostServer) -> None:
    frontend.take_problems()  # an open page also shows what other clients' runs failed with
    frontend.open(host_server.url)
    assert frontend.call("dialogs") == []
    assert frontend.take_problems() == []


def test_help_page_opens_beside_the_graph(frontend: Browser) -> None:
    frontend.call("load", read_workflow(PACK / "workflows" / "2 Your checkpoint.json"))
    assert "Published settings" in frontend.call("help", "Cones2LayoutGuidedKSampler")
