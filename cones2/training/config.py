"""How to train, as one frozen value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ..concepts.phrase import subject_phrase
from ..errors import ConfigError
from .model import Precision

MethodName = Literal["direct", "paper"]
LearningRateSchedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a run's numbers; make one with `default_config`.

    Raises ConfigError naming the field for a value out of range.
    """

    subject: str
    """The phrase, such as "dog", as `subject_phrase` leaves it."""
    method: MethodName
    """How the residual is learned."""
    steps: int
    """Optimizer updates at most."""
    learning_rate: float
    """Learning rate after the warm-up."""
    batch_size: int
    """Samples per forward pass and process."""
    schedule: LearningRateSchedule
    """Course of the learning rate after `warmup_steps`."""
    weight_decay: float
    """AdamW's weight decay."""
    stratified: bool
    """Spread an update's timesteps evenly over their range."""
    held_out: int
    """Number of fixed (noise, timestep) pairs for validation, 0 for none."""
    average: float = 0.0
    """Direct: decay of the residual's exponential moving average, 0 to 0.9999; 0 for none."""
    patience: int = 0
    """Stop after so many validations without an improvement of `min_gain`, 0 for never."""
    token_num: int | None = None
    """How many of the phrase's tokens get a row of the residual; None: all."""
    accumulation: int = 1
    """Forward passes per update."""
    warmup_steps: int = 0
    """Updates over which the learning rate rises to its value."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decays of the gradient's mean and square."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: float = 1.0
    """Gradients are clipped at this L2 norm, 0 for never."""
    drift_first: float = 1e-2
    """Paper: λ1, weight of the drift of row 0."""
    drift_rest: float = 1e-3
    """Paper: λ2, weight of the drift of the rows after the subject."""
    preservation: float = 0.0
    """Direct: weight of the squared change of the prediction outside the masks (everywhere without masks)."""
    norm_penalty: float = 0.0
    """Direct: weight of the rows' mean squared L2 norm."""
    max_norm: float = 0.0
    """Direct: largest L2 norm of a row, 0 for no limit."""
    timesteps: tuple[float, float] = (0.0, 1.0)
    """Range of training timesteps, as fractions of the schedule."""
    evaluate_every: int = 25
    """Updates between validations."""
    min_gain: float = 1e-3
    """The least relative fall of the validation error that counts as an improvement."""
    precision: Precision = "float32"
    """Number format of the frozen networks; float16 scales the loss."""
    seed: int = 0
    """Decides everything random."""
    checkpoint_every: int = 250
    """Updates between checkpoints, 0 for none but at an interrupt."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            _check_range(name, getattr(self, name), low, high)
        for name, choices in _CHOICES:
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}: choose {' or '.join(choices)}")
        object.__setattr__(self, "subject", subject_phrase(self.subject, ConfigError))
        if not 0 <= self.timesteps[0] < self.timesteps[1] <= 1:
            raise ConfigError(f"timesteps are {self.timesteps}: two rising fractions between 0 and 1 are needed")

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of update `step`, counting from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def numbers(self) -> dict[str, Any]:
        """The fields that decide a run's course, to compare a checkpoint with."""
        values = asdict(self)
        del values["checkpoint_every"]
        return values


_PAPER: dict[str, Any] = {
    "steps": 4000,
    "learning_rate": 5e-6,
    "batch_size": 1,
    "schedule": "constant",
    "weight_decay": 1e-2,
    "stratified": False,
    "held_out": 0,
}
_DIRECT: dict[str, Any] = {
    "steps": 200,
    "learning_rate": 0.1,
    "betas": (0.8, 0.99),
    "batch_size": 4,
    "schedule": "cosine",
    "weight_decay": 0.0,
    "stratified": True,
    "held_out": 32,
    "patience": 4,
    "checkpoint_every": 25,
}


def default_config(method: MethodName, subject: str, **changes: Any) -> TrainingConfig:
    """A method's recipe for a subject, with changes.

    paper: the values of the published command line. direct: see docs/training.md for how they
    were found. Raises ConfigError naming the field for a value out of range, an unknown field or method.
    """
    recipes = {"paper": _PAPER, "direct": _DIRECT}
    if method not in recipes:
        raise ConfigError(f'there is no training method "{method}": choose direct or paper')
    known = {field.name for field in fields(TrainingConfig)}
    if unknown := sorted(set(changes) - known):
        raise ConfigError(f"unknown training setting {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return TrainingConfig(**{**recipes[method], **changes, "method": method, "subject": subject})


_CHOICES = (
    ("method", ("direct", "paper")),
    ("schedule", ("constant", "cosine")),
    ("precision", ("float32", "float16", "bfloat16")),
)
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("steps", 1, 1_000_000),
    ("learning_rate", 1e-12, 100),
    ("batch_size", 1, 1024),
    ("accumulation", 1, 1024),
    ("warmup_steps", 0, 1_000_000),
    ("weight_decay", 0, 1),
    ("average", 0, 0.9999),
    ("max_grad_norm", 0, 1e6),
    ("drift_first", 0, 1e6),
    ("drift_rest", 0, 1e6),
    ("preservation", 0, 1e6),
    ("norm_penalty", 0, 1e6),
    ("max_norm", 0, 1e6),
    ("held_out", 0, 4096),
    ("evaluate_every", 1, 1_000_000),
    ("patience", 0, 1_000_000),
    ("checkpoint_every", 0, 1_000_000),
    ("seed", 0, 2**63 - 1),
)


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}: it must be a number from {low:g} to {high:g}")
