"""How to train, as one frozen value."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from ..concepts.phrase import subject_phrase
from ..errors import ConfigError
from ..messages import shown
from ..ranges import BATCH_SIZE, LEARNING_RATE, MAX_TOKENS, SEED, TRAINING_STEPS, Range

Precision = Literal["float32", "float16", "bfloat16"]
MethodName = Literal["direct", "paper", "custom-diffusion", "mip-adapter"]
RecipeName = Literal["scenes", "photos", "paper", "custom-diffusion", "mip-adapter"]
TrainedAttention = Literal["keys and values", "all"]
LearningRateSchedule = Literal["constant", "cosine"]

PARTNERS = "dog, mug, ball, flower, house, tree, fish, star"
"""Things that models draw well and that differ in shape."""
LEAST_SHARE = 0.01
"""Of scenes among the samples, where there are any: a smaller share would need a hundred times as many photos."""
_LONGEST_TEXT = 400  # characters of partners and description


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a run's numbers; make one with `recipe_config`.

    Raises ConfigError naming the field for a value out of range.

    subject: the phrase, such as "dog", as `subject_phrase` leaves it.
    method: how the residual is learned.
    steps: optimizer updates at most.
    learning_rate: learning rate after the warm-up.
    batch_size: samples per forward pass and process.
    schedule: course of the learning rate after `warmup_steps`.
    weight_decay: AdamW's weight decay.
    stratified: spread an update's timesteps evenly over their range.
    held_out: number of fixed (noise, timestep) pairs for validation, 0 for none.
    average: decay of the residual's exponential moving average (direct only), 0 to 0.9999; 0 for none.
    patience: stop after so many validations without an improvement of `min_gain`, 0 for never.
    token_num: how many of the phrase's tokens get a vector of the residual; None: all.
    accumulation: forward passes per update.
    warmup_steps: updates over which the learning rate rises to its value.
    betas: AdamW's decays of the gradient's mean and square.
    epsilon: AdamW's epsilon.
    max_grad_norm: gradients are clipped at this L2 norm, 0 for never.
    drift_first: λ1, weight of the start token's drift (paper only).
    drift_rest: λ2, weight of the drift of the tokens after the subject (paper only).
    preservation: weight of the prediction's squared change outside the masks, or everywhere without masks
    (direct only).
    norm_penalty: weight of the vectors' mean squared L2 norm (direct only).
    max_norm: largest L2 norm of a vector, 0 for no limit (direct only).
    timesteps: range of training timesteps, as fractions of the schedule.
    evaluate_every: updates between validations.
    min_gain: the least relative fall of the validation error that counts as an improvement.
    precision: number format of the frozen networks; float16 scales the loss.
    seed: of every random draw.
    checkpoint_every: updates between checkpoints, 0 for none but at an interrupt.
    guided: train under the layout term, with each subject's region around it (direct only).
    scenes: cut-and-paste scenes to learn from beside the photos, 0 for none; they need `guided`.
    scene_share: share of the samples that are scenes.
    class_pictures: pictures of other things that the model makes itself, for the scenes.
    partners: what those things are, separated by commas; the subject's own kind is left out.
    description: the subject's look in words, such as "purple and yellow mug"; the start of the residual (direct only).
    basis: learn coefficients of so many directions of words instead of a free vector, 0 for a free one (direct only).
    tokens: words of one's own that learn, joined by "+", such as "<new1>+<new2>" (custom-diffusion only).
    attention: which cross-attention weights learn (custom-diffusion only).
    prior_weight: weight of the error on pictures of the class (custom-diffusion only).
    augment: whether photos are drawn smaller and larger, as published (custom-diffusion only).
    drop: share of the samples without references, as large a one without caption, and one without both (mip-adapter
    only).
    learn_projection: whether the projection to image tokens learns too (mip-adapter only).
    """

    subject: str
    method: MethodName
    steps: int
    learning_rate: float
    batch_size: int
    schedule: LearningRateSchedule
    weight_decay: float
    stratified: bool
    held_out: int
    average: float = 0.0
    patience: int = 0
    token_num: int | None = None
    accumulation: int = 1
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    drift_first: float = 1e-2
    drift_rest: float = 1e-3
    preservation: float = 0.0
    norm_penalty: float = 0.0
    max_norm: float = 0.0
    timesteps: tuple[float, float] = (0.0, 1.0)
    evaluate_every: int = 25
    min_gain: float = 1e-3
    precision: Precision = "float32"
    seed: int = 0
    checkpoint_every: int = 250
    guided: bool = False
    scenes: int = 0
    scene_share: float = 0.5
    class_pictures: int = 16
    partners: str = PARTNERS
    description: str = ""
    basis: int = 0
    tokens: str = ""
    attention: TrainedAttention = "keys and values"
    prior_weight: float = 1.0
    augment: bool = True
    drop: float = 0.05
    learn_projection: bool = True

    def __post_init__(self) -> None:
        for name, allowed in RANGES.items():
            _check_range(name, getattr(self, name), allowed)
        for name, choices in _CHOICES:
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}: choose {' or '.join(choices)}")
        object.__setattr__(self, "subject", subject_phrase(self.subject, ConfigError))
        if not 0 <= self.timesteps[0] < self.timesteps[1] <= 1:
            raise ConfigError(f"timesteps are {self.timesteps}: two rising fractions between 0 and 1 are needed")
        self._check_recipe()

    @property
    def recipe(self) -> RecipeName:
        """The recipe that these numbers are of."""
        if self.method != "direct":
            return self.method
        return "scenes" if self.guided else "photos"

    @property
    def partner_phrases(self) -> tuple[str, ...]:
        """The things of `partners` that are not of the subject's own kind."""
        phrases = dict.fromkeys(" ".join(part.split()).lower() for part in self.partners.split(","))
        own = set(self.subject.lower().split())
        return tuple(phrase for phrase in phrases if phrase and not own & set(phrase.split()))

    @property
    def token_names(self) -> tuple[str, ...]:
        """The words of one's own that learn."""
        return tuple(name.strip() for name in self.tokens.split("+") if name.strip())

    def _check_recipe(self) -> None:
        of_residuals = self.guided or self.description or self.basis or self.held_out
        if self.method in ("custom-diffusion", "mip-adapter") and of_residuals:
            raise ConfigError(f"the method {self.method} takes no layout term, description, basis or validation")
        if self.method == "paper" and (self.guided or self.description or self.basis):
            raise ConfigError("the paper method trains as published: it takes no layout term, description or basis")
        if self.scenes and not self.guided:
            raise ConfigError("scenes are learned under the layout term: the recipe scenes turns both on")
        for name in ("partners", "description"):
            if len(getattr(self, name)) > _LONGEST_TEXT:
                raise ConfigError(f"{name} has more than {_LONGEST_TEXT} characters")
        if 0 < self.scene_share < LEAST_SHARE:
            raise ConfigError(f"scene_share is {self.scene_share!r}: it must be 0, or from {LEAST_SHARE} to 1")
        if self.scenes and not self.partner_phrases:
            raise ConfigError(f'partners names nothing but "{self.subject}": name other things, such as {PARTNERS}')

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

    def own_numbers(self) -> dict[str, Any]:
        """Those of `numbers` that name a run: a field that only other methods read is left out at its default, so that
        a new field of one method does not rename the runs of another."""
        foreign = [name for methods, names in _ONLY_OF if self.method not in methods for name in names]
        preset = defaults()
        return {name: value for name, value in self.numbers().items() if name not in foreign or value != preset[name]}


def defaults() -> dict[str, Any]:
    """The fields that have a default, with it: what a checkpoint from before such a field was made with."""
    return {field.name: field.default for field in fields(TrainingConfig) if field.default is not MISSING}


_PAPER: dict[str, Any] = {
    "steps": 4000,
    "learning_rate": 5e-6,
    "batch_size": 1,
    "schedule": "constant",
    "weight_decay": 1e-2,
    "stratified": False,
    "held_out": 0,
}
_PHOTOS: dict[str, Any] = {
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
_SCENES: dict[str, Any] = {**_PHOTOS, "guided": True, "scenes": 48}
_FROM_WORDS: dict[str, Any] = {"learning_rate": 0.03, "steps": 100}
"""A start from words is near: larger steps leave it before they improve it."""

RECIPES: dict[str, tuple[MethodName, dict[str, Any]]] = {
    "scenes": ("direct", _SCENES),
    "photos": ("direct", _PHOTOS),
    "paper": ("paper", _PAPER),
}
"""Each recipe's method and numbers. scenes: under the layout term, in scenes beside other things. photos: the photos
alone. paper: the values of the published command line. docs/training.md says how they were found."""
DEFAULT_RECIPE: RecipeName = "scenes"
_DELTA: dict[str, Any] = {
    "steps": 500,
    "learning_rate": 4e-5,
    "batch_size": 2,
    "schedule": "constant",
    "weight_decay": 1e-2,
    "stratified": False,
    "held_out": 0,
    "checkpoint_every": 50,
}
_ADAPTER: dict[str, Any] = {
    **_DELTA,
    "steps": 12_000,
    "learning_rate": 1e-4,
    "batch_size": 4,
    "accumulation": 8,
    "checkpoint_every": 250,
}
_OF_METHOD: dict[str, RecipeName] = {"paper": "paper", "direct": "photos"}


def recipe_config(recipe: str, subject: str, **changes: Any) -> TrainingConfig:
    """A recipe for a subject, with changes. Raises ConfigError naming the field for a value out of range, an unknown
    field or recipe."""
    if recipe not in RECIPES:
        raise ConfigError(f'there is no recipe "{shown(recipe)}"; there are: {", ".join(RECIPES)}')
    known = {field.name for field in fields(TrainingConfig)}
    if unknown := sorted(set(changes) - known):
        raise ConfigError(f"unknown training setting {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    method, numbers = RECIPES[recipe]
    if changes.get("description"):
        numbers = {**numbers, **_FROM_WORDS}
    return TrainingConfig(**{**numbers, **changes, "method": method, "subject": subject})


def default_config(method: MethodName, subject: str, **changes: Any) -> TrainingConfig:
    """A method's recipe for a subject, on its photos alone, with changes; see `recipe_config`."""
    if method not in _OF_METHOD:
        raise ConfigError(f'there is no training method "{method}": choose direct or paper')
    return recipe_config(_OF_METHOD[method], subject, **changes)


def delta_config(subject: str, **changes: Any) -> TrainingConfig:
    """The published values of Custom Diffusion on one device, with changes. Raises ConfigError as `recipe_config` does.

    They are lr 1e-5 · batch 2 · 2 for the pictures of the class, and 500 updates.
    """
    return TrainingConfig(**{**_DELTA, **changes, "method": "custom-diffusion", "subject": subject})


def adapter_config(name: str, **changes: Any) -> TrainingConfig:
    """The published values of MIP-Adapter, with changes. Raises ConfigError as `recipe_config` does.

    Eight processes took four samples each; one process takes eight times four. name: of the adapter.
    """
    return TrainingConfig(**{**_ADAPTER, **changes, "method": "mip-adapter", "subject": name})


_ONLY_OF: tuple[tuple[tuple[MethodName, ...], tuple[str, ...]], ...] = (
    (("custom-diffusion",), ("tokens", "attention", "prior_weight", "augment")),
    (("mip-adapter",), ("drop", "learn_projection")),
)
"""Fields that only some methods read, of those that came later than the first runs."""
_CHOICES = (
    ("method", ("direct", "paper", "custom-diffusion", "mip-adapter")),
    ("attention", ("keys and values", "all")),
    ("schedule", ("constant", "cosine")),
    ("precision", ("float32", "float16", "bfloat16")),
)
_ANY_COUNT = Range(0, TRAINING_STEPS.high)
_ANY_WEIGHT = Range(0, 1e6)
RANGES: dict[str, Range] = {
    "steps": TRAINING_STEPS,
    "learning_rate": LEARNING_RATE,
    "batch_size": BATCH_SIZE,
    "accumulation": BATCH_SIZE,
    "warmup_steps": _ANY_COUNT,
    "token_num": Range(1, MAX_TOKENS),
    "weight_decay": Range(0, 1),
    "average": Range(0, 0.9999),
    "max_grad_norm": _ANY_WEIGHT,
    "drift_first": _ANY_WEIGHT,
    "drift_rest": _ANY_WEIGHT,
    "preservation": _ANY_WEIGHT,
    "norm_penalty": _ANY_WEIGHT,
    "max_norm": _ANY_WEIGHT,
    "held_out": Range(0, 4096),
    "evaluate_every": TRAINING_STEPS,
    "patience": _ANY_COUNT,
    "checkpoint_every": _ANY_COUNT,
    "seed": SEED,
    "scenes": Range(0, 1024),
    "scene_share": Range(0, 1),
    "class_pictures": Range(1, 256),
    "basis": Range(0, 256),
    "prior_weight": _ANY_WEIGHT,
    "drop": Range(0, 0.3),
}
"""What each number of a TrainingConfig may be."""


def _check_range(name: str, value: Any, allowed: Range) -> None:
    if value is None and name == "token_num":
        return
    if isinstance(value, bool) or value not in allowed:
        raise ConfigError(f"{name} is {value!r}: it must be a number from {allowed}")
