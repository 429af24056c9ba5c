"""Devices: which can be used here, and whether one ran out of memory."""

from __future__ import annotations

import torch

from ..errors import ConfigError
from ..messages import shown

# torch has an error of its own for GPUs alone; these are parts of what it says of the CPU
_NO_MEMORY = ("can't allocate memory", "not enough memory")


def usable_device(name: str) -> torch.device:
    """The device of that name. Raises ConfigError when it cannot be used here."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()  # the device "meta" makes tensors, but holds no numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f'device "{shown(name, 80)}" cannot be used here: {shown(reason)}') from error
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of the machine does not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in _NO_MEMORY)
