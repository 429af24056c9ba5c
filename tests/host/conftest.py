"""Fixtures that run the pack on a real ComfyUI; without one every test here is skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hostlink.checkpoints import Checkpoints, open_checkpoints
from hostlink.discovery import NO_HOST, Host, find_host
from hostlink.server import HostServer
from hostlink.worker import HostWorker
from hostlink.workspace import make_workspace

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder's tests where there is no host."""
    if find_host() is None:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=NO_HOST))


@pytest.fixture(scope="session")
def host() -> Host:
    found = find_host()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def checkpoints(host: Host) -> Checkpoints:
    """Synthetic checkpoints: `checkpoints.make("sd15")` returns the file name CheckpointLoaderSimple lists."""
    return open_checkpoints(host)


@pytest.fixture(scope="session")
def in_host(host: Host, checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostWorker]:
    """Calls functions of tests/host/drivers inside one host process that has loaded the pack."""
    base = make_workspace(tmp_path_factory.mktemp("worker"), checkpoints.folder)
    with HostWorker(host, base, checkpoints) as worker:
        yield worker


@pytest.fixture
def in_fresh_host(host: Host, checkpoints: Checkpoints, tmp_path: Path) -> Iterator[HostWorker]:
    """As `in_host`, in a process of the test's own."""
    with HostWorker(host, make_workspace(tmp_path, checkpoints.folder), checkpoints) as worker:
        yield worker


@pytest.fixture(scope="session")
def host_server(host: Host, checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    """A ComfyUI server with the pack in custom_nodes under an arbitrary folder name."""
    server = HostServer(host, make_workspace(tmp_path_factory.mktemp("server"), checkpoints.folder))
    yield server
    server.close()
