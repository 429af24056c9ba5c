"""Fixtures that run the pack on a real ComfyUI; without one every test here is skipped."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.client.browser import NO_BROWSER, NO_PLAYWRIGHT, Browser, find_chromium, install_playwright
from tests.host.client.checkpoints import Checkpoints, open_checkpoints
from tests.host.client.discovery import NO_HOST, Host, find_host
from tests.host.client.server import HostServer
from tests.host.client.worker import HostWorker
from tests.host.client.workflows import supply_files
from tests.host.client.workspace import make_workspace

HERE = Path(__file__).parent


SHARED = ("in_host", "host_server")  # one process each for the whole session


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as `host`, those in a browser as `browser`, and keep those together that share a host."""
    for item in (item for item in items if HERE in item.path.parents):
        item.add_marker(pytest.mark.host)
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        for shared in SHARED:
            if shared in fixtures:
                item.add_marker(pytest.mark.xdist_group(shared))


def pytest_runtest_setup() -> None:
    """Skip this folder's tests where there is no host; from one place, so that the report counts them in one line."""
    if find_host() is None:
        pytest.skip(NO_HOST)


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
    """Calls functions of tests/host/in_host/drivers inside one host process that has loaded the pack."""
    base = make_workspace(tmp_path_factory.mktemp("worker"), checkpoints.folder)
    worker = HostWorker(host, base, checkpoints)
    yield worker
    worker.close()


@pytest.fixture
def in_fresh_host(host: Host, checkpoints: Checkpoints, tmp_path: Path) -> Iterator[HostWorker]:
    """As `in_host`, in a process of the test's own."""
    worker = HostWorker(host, make_workspace(tmp_path, checkpoints.folder), checkpoints)
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def host_server(host: Host, checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    """A ComfyUI server with the pack in custom_nodes under an arbitrary folder name."""
    server = HostServer(host, make_workspace(tmp_path_factory.mktemp("server"), checkpoints.folder))
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; skips where there is none."""
    chromium = find_chromium()
    if chromium is None or shutil.which("npm") is None:
        pytest.skip(NO_BROWSER)
    try:
        node_modules = install_playwright()
    except subprocess.SubprocessError:
        pytest.skip(NO_PLAYWRIGHT)
    page = Browser(chromium, node_modules, tmp_path_factory.mktemp("browser"))
    yield page
    page.close()


@pytest.fixture(scope="session")
def supplied_server(host_server: HostServer) -> HostServer:
    """`host_server`, with the files that the workflows of earlier releases ask for."""
    supply_files(host_server.base)
    return host_server


@pytest.fixture
def frontend(browser: Browser, supplied_server: HostServer) -> Browser:
    """The frontend of `supplied_server`, open in the browser, whatever an earlier test left there."""
    if browser.plain_page_of != supplied_server.url:
        browser.open(supplied_server.url)
    return browser
