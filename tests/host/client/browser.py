"""The real frontend in a headless Chromium, through playwright-core."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.host.client.checkpoints import CACHE
from tests.host.client.discovery import PACK
from tests.host.client.jsonlines import JsonProcess

SCRIPTS = PACK / "tests" / "host" / "browser"
NO_BROWSER = "no browser: install Chromium, node and npm (Debian: apt-get install chromium nodejs npm)"
NO_PLAYWRIGHT = "no playwright-core: npm could not install it"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """$CHROMIUM, else the first Chromium or Chrome on the PATH."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, CHROMIUMS)), None)


def install_playwright() -> Path:
    """The node_modules folder with playwright-core, installed once into the cache. Raises CalledProcessError."""
    folder = CACHE / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (SCRIPTS / "package.json").read_text()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.copy(SCRIPTS / "package.json", folder / "package.json")
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=folder, check=True, timeout=300, capture_output=True)
        stamp.write_text(wanted)
    return folder / "node_modules"


class Browser:
    """One page of the frontend; `call` runs a function of browser/page.js in it."""

    def __init__(self, chromium: str, node_modules: Path, folder: Path):
        environment = os.environ | {"CHROMIUM": chromium, "NODE_PATH": str(node_modules)}
        self._process = JsonProcess(["node", str(SCRIPTS / "serve.js")], environment, folder, folder / "browser.log")
        self.plain_page_of = ""  # the address of a frontend that is open with a fresh installation's settings

    def open(self, url: str, **settings: Any) -> None:
        """Open the frontend with frontend settings that differ from a fresh installation's."""
        self.open_on({}, url, **settings)

    def open_on(self, device: dict[str, Any], url: str, **settings: Any) -> None:
        """As `open`, on a device: options of Playwright's context, such as hasTouch and deviceScaleFactor."""
        self.plain_page_of = ""
        self._process.request(open=url, settings=settings, device=device)
        self.plain_page_of = "" if device or settings else url

    def add_script(self, path: Path) -> None:
        """Run a script in the page; functions it adds to window.cones2Tests can be called."""
        self._process.request(addScript=str(path))

    def call(self, function: str, argument: Any = None) -> Any:
        return self._process.request(call=function, argument=argument)

    def act(self, *steps: list[Any]) -> None:
        """Real input, such as ["move", x, y], ["down"], ["up"], ["key", "Control+z"], ["touch", [[x, y], …]]."""
        self._process.request(act=steps)

    def screenshot(self, path: Path, **options: Any) -> None:
        """A picture of the graph after the view was fitted to it; width and height of the page, type, quality."""
        self._process.request(screenshot=str(path), **options)

    def take_problems(self) -> list[str]:
        """Errors of the page's console since the last call."""
        return list(self._process.request(takeProblems=True))

    def close(self) -> None:
        self._process.close()
