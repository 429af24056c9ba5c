"""One host process without a server that runs driver functions and returns their JSON results."""

from pathlib import Path
from typing import Any

from .checkpoints import Checkpoints
from .discovery import INSIDE, Host
from .jsonlines import JsonProcess, RemoteError

DRIVERS = INSIDE.parent / "drivers"
EXTRA_NODES = (
    "nodes_custom_sampler", "nodes_mask", "nodes_controlnet", "nodes_cond", "nodes_images", "nodes_primitive",
    "nodes_latent", "nodes_differential_diffusion", "nodes_hooks", "nodes_model_advanced", "nodes_model_merging",
)  # fmt: skip
HostError = RemoteError


class HostWorker:
    """`worker("file.py", "function", **arguments)` calls tests/host/drivers/file.py inside the host."""

    def __init__(self, host: Host, base: Path, checkpoints: Checkpoints):
        self.base = base
        self._checkpoints = checkpoints
        environment = host.environment(
            CONES2_BASE=str(base),
            CONES2_CHECKPOINTS=str(checkpoints.folder),
            CONES2_EXTRA_NODES=",".join(EXTRA_NODES),
        )
        command = [str(host.python), str(INSIDE / "serve.py")]
        self._process = JsonProcess(command, environment, base, base / "worker.log")
        self.started = self._process.started

    def __call__(self, file: str, function: str, needs: tuple[str, ...] = (), **arguments: Any) -> Any:
        """The function's result; `needs` names the synthetic checkpoints it opens with hostkit.checkpoint."""
        if needs:
            self._checkpoints.make(*needs)
        return self._process.request(file=str(DRIVERS / file), function=function, arguments=arguments)

    def close(self) -> None:
        self._process.close()
