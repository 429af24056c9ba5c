"""One training of Custom Diffusion from pictures to a delta, shared by the command line and the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..concepts.fingerprint import FINGERPRINT_KEY, encoder_fingerprint
from ..custom_diffusion.delta import Delta
from ..errors import ConfigError
from ..messages import listed, shown
from .concept_batches import ConceptBatches
from .concepts import TrainingConcept, class_words, tokens_in
from .config import TrainingConfig
from .delta_method import DeltaMethod
from .loop import SINGLE, Parallel, Trainer, TrainingResult
from .memory import MemoryEstimate, activation_bytes, check_memory
from .model import TrainingModel

_FLOATS = 4  # bytes
_COPIES = 4  # of each number that learns: itself, its gradient, Adam's two moments


@dataclass(frozen=True, eq=False)
class DeltaRun:
    """A training that is ready to start, or continued from its checkpoint.

    trainer: the loop. method: what it trains. words: what each token is.
    """

    trainer: Trainer
    method: DeltaMethod
    concepts: Sequence[TrainingConcept]
    words: tuple[str, ...]

    def result(self, result: TrainingResult, base_model: str, layers_per_block: int, **facts: str) -> Delta:
        """The trained delta with the facts of its training as metadata.

        base_model: file or folder name of the model.
        """
        config, model = self.trainer.config, self.method.model
        metadata = {
            "method": config.method,
            "base_model": shown(base_model),
            FINGERPRINT_KEY: encoder_fingerprint(model.encode_text([""]).embeds.detach()),
            "trained": config.attention,
            "steps": str(result.steps),
            "learning_rate": f"{config.learning_rate:g}",
            "batch_size": str(config.batch_size * config.accumulation),
            "seed": str(config.seed),
            "prompts": shown("; ".join(concept.prompt for concept in self.concepts), 1000),
            "photos": str(sum(len(concept.photos) for concept in self.concepts)),
            "class_pictures": str(sum(len(concept.class_photos) for concept in self.concepts)),
            "stopped": result.reason,
            **facts,
        }
        return self.method.delta(self.words, layers_per_block, **metadata)


def prepare_delta_run(
    model: TrainingModel,
    concepts: Sequence[TrainingConcept],
    config: TrainingConfig,
    size: int,
    flip: bool = False,
    checkpoint: Path | None = None,
    parallel: Parallel = SINGLE,
    ahead: int = 1,
) -> DeltaRun:
    """A run that is ready to start, or continued from its checkpoint where there is one.

    model: with the attention weights and token rows that learn. size: pixels of a training picture's side.
    ahead: of how many updates the pictures are encoded together.
    Raises ModelError when it cannot fit into memory, ConfigError for prompts that the tokens are not in, an
    impossible size, or a checkpoint of another run.
    """
    check_concepts(concepts, config, size, model)
    words = tuple(class_words(config.token_names, concepts))
    batches = ConceptBatches(model, concepts, config, size, flip, parallel.rank, parallel.world, ahead)
    method = DeltaMethod(model, config)
    (_, first), *_ = batches(0, 0)
    _check_memory(model, config, first.prompts[0], first.latents[0], len(first.latents))
    trainer = Trainer(method, batches, config, (), checkpoint, batches.fingerprint, parallel)
    trainer.resume()
    return DeltaRun(trainer, method, tuple(concepts), words)


def check_before_pictures(
    concepts: Sequence[TrainingConcept], config: TrainingConfig, size: int, model: TrainingModel
) -> None:
    """Raise what `prepare_delta_run` raises for these concepts once the model has made pictures of their classes.

    Making them takes long, so that whatever is wrong should be said before.
    """
    check_concepts(concepts, config, size, model)
    with torch.no_grad():
        latent = model.encode_image(torch.zeros(1, 3, size, size, device=model.device)).mean[0]
    _check_memory(model, config, concepts[0].prompt, latent, 2 * config.batch_size)


def _check_memory(model: TrainingModel, config: TrainingConfig, prompt: str, latent: Tensor, count: int) -> None:
    """Raise ModelError when `count` samples of this latent [C, h, w] at a time cannot fit into memory."""
    numbers = sum(parameter.numel() for parameter in (*model.attention_weights.values(), *model.token_rows))
    conditioning = model.encode_text([prompt]).detached()
    estimate = MemoryEstimate(
        activations=count * activation_bytes(model, conditioning, latent),
        trainable=_FLOATS * _COPIES * numbers,
        captions=0,
    )
    check_memory(estimate, model.device, config.method)


def check_concepts(
    concepts: Sequence[TrainingConcept], config: TrainingConfig, size: int, model: TrainingModel
) -> None:
    """Raise ConfigError for concepts that cannot be trained together."""
    if not concepts:
        raise ConfigError("there is no concept to learn: give photos")
    if size < model.size_multiple or size % model.size_multiple:
        raise ConfigError(f"the resolution is {size}: it must be a multiple of {model.size_multiple} pixels")
    named = tokens_in([concept.prompt for concept in concepts])
    lost = [name for name in config.token_names if not any(name in concept.prompt for concept in concepts)]
    if lost:
        raise ConfigError(f"no prompt names {listed(lost)}; the prompts name {listed(named)}")
    unknown = [name for name in named if name not in config.token_names]
    if unknown:
        raise ConfigError(f"the prompts name {listed(unknown)}, which no token is called: tokens are {config.tokens}")
    with_pictures = [bool(concept.class_photos) for concept in concepts]
    if any(with_pictures) and not all(with_pictures):
        bare = concepts[with_pictures.index(False)].prompt
        raise ConfigError(f'"{shown(bare, 80)}" has no pictures of its class while others do: give them to all or none')
