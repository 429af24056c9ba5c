"""One host process without a server that runs driver functions and returns their JSON results."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.host.client.checkpoints import Checkpoints
from tests.host.client.discovery import INSIDE, Host
from tests.host.client.jsonlines import JsonProcess, RemoteError

DRIVERS = INSIDE.parent / "drivers"
EXTRA_NODES = (
    "nodes_custom_sampler", "nodes_mask", "nodes_controlnet", "nodes_cond", "nodes_images", "nodes_primitive",
    "nodes_latent", "nodes_differential_diffusion", "nodes_hooks", "nodes_model_advanced", "nodes_model_merging",
)  # fmt: skip
HostError = RemoteError


@dataclass(frozen=True)
class Driver:
    """A file of tests/host/in_host/drivers: its functions are called by name."""

    worker: "HostWorker"
    name: str

    def __getattr__(self, function: str) -> Callable[..., Any]:
        return partial(self.worker.call, self.name, function)


class HostWorker:
    """`worker.sampling.unguided(**arguments)` calls that function of in_host/drivers/sampling.py inside the host."""

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

    def __getattr__(self, driver: str) -> Driver:
        if not (DRIVERS / f"{driver}.py").is_file():
            raise AttributeError(f"there is no driver {driver} in {DRIVERS}")
        return Driver(self, driver)

    def call(self, driver: str, function: str, needs: tuple[str, ...] = (), **arguments: Any) -> Any:
        """The function's result; `needs` names the synthetic checkpoints it opens with hostkit.checkpoint."""
        if needs:
            self._checkpoints.make(*needs)
        return self._process.request(file=str(DRIVERS / f"{driver}.py"), function=function, arguments=arguments)

    def close(self) -> None:
        self._process.close()
