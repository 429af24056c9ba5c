"""What every training stage shares: options, checkpoints, learning rate, averaging, log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SAVE_EVERY = 180.0  # seconds
LOG_EVERY = 25  # steps


@dataclass(frozen=True)
class Options:
    """Where a stage works and how long.

    `init` is a folder to start from instead of noise; `bfloat16` and `compiled` ask for what is
    faster on some machines. `without` names parts of the denoiser's recipe left out of a control.
    """

    work: Path
    steps: int
    batch: int
    rate: float
    device: str = "cpu"
    seed: int = 0
    init: Path | None = None
    bfloat16: bool = False
    compiled: bool = False
    without: frozenset[str] = frozenset()


def write_atomically(path: Path, value: object) -> None:
    """`torch.save` that leaves either the old file or the new one."""
    part = path.with_suffix(".part")
    torch.save(value, part)
    part.rename(path)


class Averaged:
    """Exponential moving average of parameters, quicker while young."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.live = list(parameters)
        self.kept = [p.detach().clone() for p in self.live]
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        weight = 1 - min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.kept, [p.detach() for p in self.live], weight)

    def copy_to(self, module: nn.Module) -> None:
        """Put the averages into a module of the same shape."""
        fill(module, self.kept)


@torch.no_grad()
def fill(module: nn.Module, values: Iterable[torch.Tensor]) -> None:
    """Copy values into the module's parameters, in order."""
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.copy_(value)


def rate_at(step: int, options: Options, warmup: int = 50, decay_share: float = 0.35) -> float:
    """Warm-up, plateau, then a cosine to 2 % over the last part."""
    left = (options.steps - step) / max(1.0, options.steps * decay_share)
    tail = 0.5 * (1 - math.cos(math.pi * min(1.0, max(0.0, left))))
    return options.rate * min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * tail)


class Trainer:
    """Optimizer, average, checkpoint and log of one module.

    The checkpoint `WORK/NAME.pt` is written by rename every few minutes; a stage started again
    continues from it, so a killed process loses minutes at most.
    """

    def __init__(self, name: str, module: nn.Module, options: Options, decay: float = 0.998) -> None:
        self.name, self.module, self.options = name, module, options
        self.path = options.work / f"{name}.pt"
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.average = Averaged(module.parameters(), decay)
        self.step, self.spent = 0, 0.0
        self.smooth: dict[str, float] = {}
        self._saved = self._tick = time.monotonic()
        if self.path.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.path, map_location=self.options.device, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.kept = state["average"]
        self.step, self.spent = state["step"], state["spent"]
        print(f"{self.name}: resumed at step {self.step}", flush=True)

    def save(self) -> None:
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.kept,
            "step": self.step,
            "spent": self.spent,
        }
        write_atomically(self.path, state)
        self._saved = time.monotonic()

    def running(self) -> bool:
        """Whether steps are left; also the place where checkpoints are written."""
        now = time.monotonic()
        self.spent += now - self._tick
        self._tick = now
        if self.step >= self.options.steps or now - self._saved > SAVE_EVERY:
            self.save()
        return self.step < self.options.steps

    def apply(self, loss: torch.Tensor, **shown: torch.Tensor) -> None:
        """One optimizer step on `loss`; `shown` values are smoothed and logged."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, self.options)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.step)
        self._log({"loss": loss, **shown})
        self.step += 1

    def _log(self, shown: dict[str, torch.Tensor]) -> None:
        for key, value in shown.items():
            number = value.item()
            if not math.isfinite(number):
                raise FloatingPointError(f"{self.name}: {key} is {number} at step {self.step}")
            self.smooth[key] = 0.98 * self.smooth.get(key, number) + 0.02 * number
        if self.step % LOG_EVERY == 0:
            row: dict[str, float] = {"step": self.step, "seconds": round(self.spent)}
            row |= {k: round(v, 5) for k, v in self.smooth.items()}
            with (self.options.work / f"{self.name}.log").open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(self.name, row, flush=True)
