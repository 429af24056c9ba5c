"""One host process without a server that runs driver functions and returns their JSON results."""

import json
import select
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .checkpoints import Checkpoints
from .discovery import INSIDE, Host

ANSWER_SECONDS = 300
DRIVERS = INSIDE.parent / "drivers"
EXTRA_NODES = (
    "nodes_custom_sampler", "nodes_mask", "nodes_controlnet", "nodes_cond", "nodes_images", "nodes_primitive",
    "nodes_latent", "nodes_differential_diffusion", "nodes_hooks",
)  # fmt: skip


class HostError(Exception):
    """An exception raised inside the host: `kind` is its type; the text ends with its traceback there."""

    def __init__(self, answer: dict[str, str]):
        super().__init__(f"{answer['error']}: {answer['message']}\n\n{answer['traceback']}")
        self.kind, self.message = answer["error"], answer["message"]


class HostWorker:
    """`worker("file.py", "function", **arguments)` calls tests/host/drivers/file.py inside the host."""

    def __init__(self, host: Host, base: Path, checkpoints: Checkpoints):
        self.checkpoints = checkpoints
        self.log = base / "worker.log"
        environment = host.environment(
            CONES2_BASE=str(base),
            CONES2_CHECKPOINTS=str(checkpoints.folder),
            CONES2_EXTRA_NODES=",".join(EXTRA_NODES),
        )
        self._process = subprocess.Popen(
            [str(host.python), str(INSIDE / "serve.py")],
            cwd=base,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(self.log, "w"),
            text=True,
        )
        self.started = self._read()

    def __call__(self, file: str, function: str, needs: tuple[str, ...] = (), **arguments: Any) -> Any:
        """The function's result; `needs` names the synthetic checkpoints it opens with hostkit.checkpoint."""
        if needs:
            self.checkpoints.make(*needs)
        request = {"file": str(DRIVERS / file), "function": function, "arguments": arguments}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise HostError(answer)
        return answer["value"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            reason = "ended" if ready else f"did not answer within {ANSWER_SECONDS} s"
            raise RuntimeError(f"the host process {reason}:\n{self.log.read_text()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
