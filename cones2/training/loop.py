"""The training loop: updates, judging on the held-out set, checkpoints, interrupts, NaN stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .checkpoint import read_checkpoint, write_checkpoint
from .config import TrainingConfig
from .methods import ResidualMethod
from .objective import Batch, denoising_error

log = logging.getLogger(__name__)

Batches = Callable[[int, int], Sequence[tuple[float, Batch]]]
Record = Mapping[str, float]
Reason = Literal["finished", "converged", "interrupted", "diverged"]
_SMALLEST_LOSS_SCALE = 2.0**-14


@dataclass(frozen=True)
class Parallel:
    """How several processes train together; the default is one process.

    wrap: makes the method average its gradients over the processes. mean: mean of a tensor over them.
    """

    rank: int = 0
    world: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    mean: Callable[[Tensor], Tensor] = lambda value: value


SINGLE = Parallel()


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """residual: [token_num, d] float32 on the CPU. steps: updates done.

    reason: why the run ended; "diverged" at a loss or gradient that is no finite number, with the
    last good residual. held_out: error of this residual on the held-out set, None without one.
    history: one record per update.
    """

    residual: Tensor
    steps: int
    reason: Reason
    held_out: float | None
    history: Sequence[Record]


@dataclass
class _State:
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_error: float = math.inf
    best: Tensor | None = None
    reference: float = math.inf  # the error that the next improvement is measured from
    waited: int = 0


class Trainer:
    """One run of one method.

    batches(step, micro): the micro-batches of an update. held_out: batches the residual is judged on.
    checkpoint: file that an interrupted run continues from; data: fingerprint of the photos.
    """

    def __init__(
        self,
        method: ResidualMethod,
        batches: Batches,
        config: TrainingConfig,
        held_out: Sequence[tuple[float, Batch]] = (),
        checkpoint: Path | None = None,
        data: str = "",
        parallel: Parallel = SINGLE,
    ) -> None:
        self.method, self.config, self.parallel = method, config, parallel
        self._batches, self._held_out = batches, held_out
        self._checkpoint, self._data = checkpoint, data
        self._module = parallel.wrap(method)
        self._parameters = [weight for weight in method.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, config.learning_rate, config.betas, config.epsilon, config.weight_decay
        )
        device = self._parameters[0].device.type
        self._scaler = torch.amp.GradScaler(device, enabled=config.precision == "float16")
        self._state = _State()

    @property
    def step(self) -> int:
        """Updates done so far."""
        return self._state.step

    @property
    def history(self) -> Sequence[Record]:
        """One record per update so far."""
        return self._state.history

    def resume(self) -> bool:
        """Continue from the checkpoint, exactly where it stopped; False when there is none."""
        if self._checkpoint is None or not self._checkpoint.is_file():
            return False
        saved = read_checkpoint(self._checkpoint, self.config.numbers(), self._data)
        self.method.load_state_dict(saved["method"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._scaler.load_state_dict(saved["scaler"])
        self._state = _State(**saved["state"])
        return True

    def run(
        self, on_step: Callable[[Record], object] | None = None, interrupted: Callable[[], bool] = lambda: False
    ) -> TrainingResult:
        """Train until the steps are done, the held-out error stops falling, an interrupt, or NaN.

        on_step: called after each update with its record. interrupted: asked before each forward pass.
        """
        with torch.inference_mode(False), torch.enable_grad():
            try:
                reason = self._run(on_step, interrupted)
            finally:
                self._optimizer.zero_grad(set_to_none=True)
            return self._result(reason)

    def evaluate(self) -> float:
        """Denoising error of the residual added to the frozen captions, on the held-out set."""
        residual = self.method.residual()
        with torch.no_grad():
            errors = [
                share * denoising_error(self.method.model, batch, self._judged(residual, batch))[0]
                for share, batch in self._held_out
            ]
        return float(self.parallel.mean(torch.stack(errors).sum()))

    def save(self) -> None:
        """Write the checkpoint, if one was asked for."""
        if self._checkpoint is None or self.parallel.rank != 0:
            return
        state = {
            "numbers": self.config.numbers(),
            "data": self._data,
            "method": self.method.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "state": vars(self._state),
        }
        write_checkpoint(self._checkpoint, state)

    def _run(self, on_step: Callable[[Record], object] | None, interrupted: Callable[[], bool]) -> Reason:
        if self._held_out and not self._state.history and self._state.best is None:
            self._judge()
        while self._state.step < self.config.steps and not self._converged():
            started = time.perf_counter()
            terms = self._accumulate(interrupted)
            if terms is None:
                self.save()
                return "interrupted"
            gradient = self._update(terms)
            if gradient is None:
                return "diverged"
            self._finish_step(terms, gradient, started, on_step)
        return "converged" if self._converged() else "finished"

    def _accumulate(self, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Gradients of one update's micro-batches and the mean of their losses; None when interrupted."""
        sums: dict[str, Tensor] = {}
        for micro in range(self.config.accumulation):
            if self._any(interrupted()):
                self._optimizer.zero_grad(set_to_none=True)
                return None
            for share, batch in self._batches(self._state.step, micro):
                weight = share / self.config.accumulation
                loss, terms = self._module(batch)
                self._scaler.scale(loss * weight).backward()
                for name, value in {"loss": loss, **terms}.items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.detach().float().cpu() * weight
        device = self._parameters[0].device
        return {name: float(self.parallel.mean(value.to(device))) for name, value in sums.items()}

    def _update(self, terms: Mapping[str, float]) -> float | None:
        """Apply the gradients; their norm before clipping, or None when they or the loss are no numbers.

        In float16 an overflow of the scaled gradients lowers the scale and skips the update, unless
        the scale is already as small as it gets.
        """
        self._scaler.unscale_(self._optimizer)
        limit = self.config.max_grad_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, limit))
        overflow = self._scaler.is_enabled() and self._scaler.get_scale() > _SMALLEST_LOSS_SCALE
        if not math.isfinite(terms["loss"]) or (not math.isfinite(norm) and not overflow):
            log.error("step %d: the loss is %g, the gradient norm %g", self._state.step + 1, terms["loss"], norm)
            return None
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(self._state.step)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.method.updated()
        return norm

    def _finish_step(
        self, terms: Mapping[str, float], norm: float, started: float, on_step: Callable[[Record], object] | None
    ) -> None:
        state, config = self._state, self.config
        rate = config.learning_rate_at(state.step)
        state.step += 1
        record = {"step": float(state.step), **terms, "learning_rate": rate, "gradient_norm": norm}
        if self._held_out and (state.step % config.evaluate_every == 0 or state.step == config.steps):
            record["held_out"] = self._judge()
        record["seconds"] = time.perf_counter() - started
        state.history.append(record)
        if config.checkpoint_every and state.step % config.checkpoint_every == 0:
            self.save()
        if on_step is not None:
            on_step(record)

    def _judge(self) -> float:
        state, error = self._state, self.evaluate()
        if error < state.best_error:
            state.best_error, state.best = error, self.method.residual()
        if error < state.reference * (1 - self.config.min_gain):
            state.reference, state.waited = error, 0
        else:
            state.waited += 1
        return error

    def _converged(self) -> bool:
        return bool(self.config.patience and self._held_out and self._state.waited >= self.config.patience)

    def _judged(self, residual: Tensor, batch: Batch) -> Any:
        return self.method.with_residual(residual.to(batch.latents.device), batch.captions)

    def _any(self, flag: bool) -> bool:
        """True on all processes as soon as one says so, so that they stop at the same step."""
        if self.parallel.world == 1:
            return flag
        return float(self.parallel.mean(torch.tensor(float(flag), device=self._parameters[0].device))) > 0

    def _result(self, reason: Reason) -> TrainingResult:
        state = self._state
        residual = self.method.residual() if state.best is None else state.best
        if not torch.isfinite(residual).all():
            raise ConfigError(
                f"training diverged before step {state.step + 1} and there is no good residual to keep: "
                f"lower the learning rate ({self.config.learning_rate:g})"
            )
        if state.step and not residual.any():
            log.warning("no residual was better than none: lower the learning rate, or take other photos")
        return TrainingResult(
            residual, state.step, reason, state.best_error if state.best is not None else None, state.history
        )
