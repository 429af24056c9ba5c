"""Several processes under `accelerate launch`; one otherwise, without importing Accelerate."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch

from ..errors import ConfigError
from ..training.loop import Parallel
from .devices import usable_device


@dataclass(frozen=True)
class Processes:
    """This process's device and how it trains with the others."""

    device: torch.device
    parallel: Parallel = field(default_factory=Parallel)

    @property
    def is_main(self) -> bool:
        """Only the main process writes files."""
        return self.parallel.rank == 0


def start_processes(device: str | None) -> Processes:
    """The process group of `accelerate launch`, or this process alone on the given device.

    Raises ConfigError when the device cannot be used or Accelerate is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError("several processes need the package accelerate: pip install accelerate") from error
    # the buffers are frozen and equal everywhere: no need to send them around at each forward pass
    accelerator = Accelerator(
        cpu=device == "cpu", kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)]
    )
    parallel = Parallel(
        accelerator.process_index,
        accelerator.num_processes,
        accelerator.prepare_model,
        lambda value: accelerator.reduce(value, "mean"),
    )
    return Processes(accelerator.device, parallel)
