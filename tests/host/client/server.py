"""A running ComfyUI server in its own base directory, and a client of its API."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.host.client.discovery import Host
from tests.host.client.messages import Messages
from tests.support.signals import default_signals

START_SECONDS = 120
ARGUMENTS = (
    "--cpu", "--use-pytorch-cross-attention", "--disable-auto-launch", "--disable-api-nodes", "--disable-metadata",
    "--disable-all-custom-nodes", "--whitelist-custom-nodes",
)  # fmt: skip


class PromptRejected(Exception):
    """The server refused a prompt; `body` is its JSON answer."""

    def __init__(self, body: dict[str, Any]):
        super().__init__(json.dumps(body, indent=1)[:2000])
        self.body = body


@dataclass(frozen=True)
class Run:
    """What /history says about one prompt."""

    status: str  # "success" or "error"
    outputs: dict[str, Any]  # node id → its ui output
    messages: list[Any]

    @property
    def error(self) -> str:
        """The sentence the user reads in the error box, or ""."""
        return next((m["exception_message"].strip() for kind, m in self.messages if kind == "execution_error"), "")

    @property
    def cached(self) -> set[str]:
        """Ids of the nodes that were not executed again."""
        return {n for kind, m in self.messages if kind == "execution_cached" for n in m["nodes"]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_command(host: Host, base: Path, *extra: str) -> list[str]:
    """The host's main.py with the tests' options; it loads the packs in the workspace and no others."""
    command = [str(host.python), str(host.root / "main.py"), "--base-directory", str(base), *extra]
    packs = sorted(path.name for path in (base / "custom_nodes").iterdir())
    return [*command, "--database-url", "sqlite:///:memory:", *ARGUMENTS, *packs]


class HostServer:
    """ComfyUI on a free port; use as a context manager."""

    def __init__(self, host: Host, base: Path):
        self.base = base
        self.log = base / "server.log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = start_command(host, base, "--listen", "127.0.0.1", "--port", str(port))
        with open(self.log, "w") as log, default_signals():
            self._process = subprocess.Popen(
                command, cwd=base, env=host.environment(), stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{self.log_text[-4000:]}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.3)
        raise RuntimeError(f"the server did not start in {START_SECONDS} s:\n{self.log_text[-4000:]}")

    @property
    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise PromptRejected(json.loads(error.read())) from None
        return json.loads(text) if text else None

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue an API-format prompt; its id. Raises PromptRejected when validation fails."""
        return str(self.post("/prompt", {"prompt": prompt})["prompt_id"])

    def wait(self, prompt_id: str, seconds: float = 180) -> Run:
        """Wait until the prompt has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if entry := self.get(f"/history/{prompt_id}").get(prompt_id):
                status = entry["status"]
                return Run(status["status_str"], entry["outputs"], status["messages"])
            time.sleep(0.1)
        raise TimeoutError(f"the prompt did not end in {seconds} s:\n{self.log_text[-4000:]}")

    def run(self, prompt: dict[str, Any], seconds: float = 180) -> Run:
        """Queue and wait."""
        return self.wait(self.queue(prompt), seconds)

    @contextmanager
    def messages(self) -> Iterator[Messages]:
        """What the server tells about prompts queued inside the block."""
        listener = Messages(self.url)
        try:
            yield listener
        finally:
            listener.close()

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def image(self, entry: dict[str, str]) -> bytes:
        """The file behind one entry of a ui output's `images`."""
        query = urllib.parse.urlencode({name: entry[name] for name in ("filename", "subfolder", "type")})
        with urllib.request.urlopen(f"{self.url}/view?{query}", timeout=30) as answer:
            return bytes(answer.read())

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
