"""The host has what the pack uses of it, also where no test comes by."""

from tests.host.client.discovery import Host
from tools.host_names import Checkout, lacking, uses_of_pack


def test_every_name_and_keyword_that_the_pack_uses_is_there(host: Host) -> None:
    uses = uses_of_pack()
    assert len({use.name for use in uses}) > 80
    assert lacking(Checkout(host.root), uses) == {}
