"""The training loop: updates, validation, checkpoints, interrupts, and a stop at NaN."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, Cones2Error, ConfigError
from ..storage.files import shown_path
from .checkpoint import read_checkpoint, write_checkpoint
from .config import TrainingConfig
from .history import Record
from .methods import LearningMethod, ResidualMethod
from .objective import Batch, denoising_error

log = logging.getLogger(__name__)

Batches = Callable[[int, int], Sequence[tuple[float, Any]]]
"""(step, micro) → a micro-batch of the update, as pairs of its share of the samples and the batch: a `Batch`, or what
else the method takes."""

Reason = Literal["finished", "converged", "interrupted", "diverged"]
_SMALLEST_LOSS_SCALE = 2.0**-14


@dataclass(frozen=True)
class Parallel:
    """How several processes train together; the default is one process.

    rank: this process, from 0; process 0 writes the files.
    world: number of processes.
    wrap: makes the method average its gradients over the processes.
    mean: mean of a tensor over the processes.
    """

    rank: int = 0
    world: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    mean: Callable[[Tensor], Tensor] = lambda value: value


SINGLE = Parallel()


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a run ended with.

    residual: [token_num, d] float32 on the CPU: the best one of the validations, or the last one without them.
    steps: updates done.
    reason: why the run ended; "diverged" is a NaN or infinite loss or gradient, and the residual the last good one.
    held_out: validation error of the residual, None without a held-out set.
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

    held_out: the fixed batches of the validation, with their shares of the set. checkpoint: file that an
    interrupted run continues from. data: fingerprint of what it learns from.
    """

    def __init__(
        self,
        method: LearningMethod,
        batches: Batches,
        config: TrainingConfig,
        held_out: Sequence[tuple[float, Batch]] = (),
        checkpoint: Path | None = None,
        data: str = "",
        parallel: Parallel = SINGLE,
    ) -> None:
        self._method, self.config, self.parallel = method, config, parallel
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
    def method(self) -> ResidualMethod:
        """What is trained, in a run that learns a residual."""
        return cast(ResidualMethod, self._method)

    @property
    def step(self) -> int:
        """Updates done so far."""
        return self._state.step

    @property
    def held_out(self) -> Sequence[tuple[float, Batch]]:
        """The fixed batches of the validation, with their shares of the set."""
        return self._held_out

    @property
    def history(self) -> Sequence[Record]:
        """One record per update so far."""
        return self._state.history

    def resume(self) -> bool:
        """Continue from the checkpoint, exactly where it stopped; False when there is none.

        Raises CheckpointError when it is damaged or of another run, ConfigError when it cannot be loaded; nothing is
        changed then.
        """
        if self._checkpoint is None or not self._checkpoint.is_file():
            return False
        saved = read_checkpoint(self._checkpoint, self.config.numbers(), self._data)
        before = copy.deepcopy((self._method.state_dict(), self._optimizer.state_dict(), self._scaler.state_dict()))
        try:
            self._method.load_state_dict(saved["method"])
            self._optimizer.load_state_dict(saved["optimizer"])
            self._scaler.load_state_dict(saved["scaler"])
            self._state = _State(**saved["state"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            # what fits has been loaded: a run that starts anew must not start from it
            self._method.load_state_dict(before[0])
            self._optimizer.load_state_dict(before[1])
            self._scaler.load_state_dict(before[2])
            name = shown_path(self._checkpoint)
            raise CheckpointError(f"{name} does not fit this model: delete it, or train the model it is of") from error
        return True

    def run(
        self, on_step: Callable[[Record], object] | None = None, interrupted: Callable[[], bool] = lambda: False
    ) -> TrainingResult:
        """Train until the steps are done, the validation error stops falling, an interrupt, or NaN.

        A Cones2Error of the batches leaves a checkpoint.

        on_step: called after each update with its record. interrupted: asked before each forward pass.
        """
        with torch.inference_mode(False), torch.enable_grad():
            try:
                reason = self._run(on_step, interrupted)
            finally:
                self._optimizer.zero_grad(set_to_none=True)
            return self._result(reason)

    @torch.no_grad()
    def validate(self, residual: Tensor | None = None) -> float:
        """Denoising error of a residual, by default the one so far, on the held-out set."""
        residual, errors = self.method.residual() if residual is None else residual, []
        for share, batch in self._held_out:
            conditioning = self.method.with_residual(residual.to(batch.latents.device), batch.captions)
            errors.append(share * denoising_error(self.method.model, batch, conditioning)[0])
        return float(self.parallel.mean(torch.stack(errors).sum()))

    def save(self) -> None:
        """Write the checkpoint, if one was asked for.

        A disk that refuses is a warning and the checkpoint before this one stays: neither the training
        nor an interrupt may fail with it.
        """
        if self._checkpoint is None or self.parallel.rank != 0:
            return
        state = {
            "numbers": self.config.numbers(),
            "data": self._data,
            "method": self._method.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "state": vars(self._state),
        }
        try:
            write_checkpoint(self._checkpoint, state)
        except Cones2Error as error:
            log.warning("no checkpoint after step %d: %s", self._state.step, error)

    def _run(self, on_step: Callable[[Record], object] | None, interrupted: Callable[[], bool]) -> Reason:
        if self._held_out and not self._state.history and self._state.best is None:
            self._validate()
        while self._state.step < self.config.steps and not self._converged():
            started = time.perf_counter()
            try:
                terms = self._accumulate(interrupted)
            except Cones2Error:  # a file that is gone, a disk that fails: what was learned stays
                self.save()
                raise
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
        """Apply the gradients; their norm before clipping, or None when they or the loss are NaN or infinite.

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
        self._method.updated()
        return norm

    def _finish_step(
        self, terms: Mapping[str, float], norm: float, started: float, on_step: Callable[[Record], object] | None
    ) -> None:
        state, config = self._state, self.config
        rate = config.learning_rate_at(state.step)
        state.step += 1
        record = {"step": float(state.step), **terms, "learning_rate": rate, "gradient_norm": norm}
        if self._held_out and (state.step % config.evaluate_every == 0 or state.step == config.steps):
            record["held_out"] = self._validate()
        record["seconds"] = time.perf_counter() - started
        state.history.append(record)
        if config.checkpoint_every and state.step % config.checkpoint_every == 0:
            self.save()
        if on_step is not None:
            on_step(record)

    def _validate(self) -> float:
        """Validation error of the residual so far; remembers the best residual and how long none was better."""
        state, error = self._state, self.validate()
        if error < state.best_error:
            state.best_error, state.best = error, self._method.residual()
        if error < state.reference * (1 - self.config.min_gain):
            state.reference, state.waited = error, 0
        else:
            state.waited += 1
        return error

    def _converged(self) -> bool:
        return bool(self.config.patience and self._held_out and self._state.waited >= self.config.patience)

    def _any(self, flag: bool) -> bool:
        """True on all processes as soon as one says so, so that they stop at the same step."""
        if self.parallel.world == 1:
            return flag
        return float(self.parallel.mean(torch.tensor(float(flag), device=self._parameters[0].device))) > 0

    def _result(self, reason: Reason) -> TrainingResult:
        state = self._state
        residual = self._method.residual() if state.best is None else state.best
        if not torch.isfinite(residual).all():
            raise ConfigError(
                f"training diverged before step {state.step + 1} and nothing good is there to keep: "
                f"lower the learning rate ({self.config.learning_rate:g})"
            )
        if state.step and not residual.any():
            log.warning("nothing learned was better than nothing: lower the learning rate, or take other pictures")
        return TrainingResult(
            residual, state.step, reason, state.best_error if state.best is not None else None, state.history
        )
