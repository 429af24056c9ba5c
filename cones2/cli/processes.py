"""Several processes under `accelerate launch`; one otherwise, without importing Accelerate."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch

from ..errors import ConfigError
from ..training.loop import Parallel
from .devices import usable_device
from .output import launched, say


def own_device(name: str | None) -> torch.device:
    """The device of this process among those of its machine; None: cuda where there is one, else the CPU.

    Raises ConfigError when it cannot be used.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and launched().world > 1:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return usable_device(name)


@dataclass(frozen=True)
class Processes:
    """This process's device and how it trains with the others."""

    device: torch.device
    parallel: Parallel = field(default_factory=Parallel)

    @property
    def is_main(self) -> bool:
        """Only the main process writes files."""
        return self.parallel.rank == 0

    def say(self, text: str) -> None:
        """Print a line about this training; with the number of the process when others train something else."""
        if self.parallel.world == launched().world:
            print(text, flush=True)
        else:
            say(text)


def this_process(device: str | None) -> Processes:
    """This process alone, whatever others were launched. Raises ConfigError when its device cannot be used."""
    return Processes(own_device(device))


def start_processes(device: str | None) -> Processes:
    """The process group of `accelerate launch`, or this process alone on the given device.

    Raises ConfigError when the device cannot be used or Accelerate is missing.
    """
    if launched().world == 1:
        return this_process(device)
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
