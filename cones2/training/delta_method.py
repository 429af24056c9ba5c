"""Custom Diffusion as a training method: cross-attention weights and words of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..custom_diffusion.changes import Change, Whole
from ..custom_diffusion.delta import Delta, ModifierToken, make_delta
from ..errors import ModelError
from ..prompt.conditioning import Conditioning
from .config import TrainingConfig
from .methods import LearningMethod, Terms
from .model import TrainingModel
from .objective import masked_mse


@dataclass(frozen=True, eq=False)
class ConceptBatch:
    """One micro-batch: photos of the concepts, then as many pictures of their classes, or none.

    latents, noise: [B, C, h, w].
    timesteps: int64 [B].
    prompts: B captions.
    masks: where the error of the photos counts, [photos, 1, h, w].
    time_ids: SDXL's picture sizes [B, 6], or None.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    prompts: tuple[str, ...]
    masks: Tensor
    time_ids: Tensor | None = None


class DeltaMethod(LearningMethod):
    """Train `model.attention_weights` and `model.token_rows`; every word of one's own learns, and no other row.

    Loss: each photo's squared error, summed over the channels and divided by the cells of its mask, plus the weighted
    mean squared error of the class pictures. published_tokens: the last of several words gets no gradient, as in the
    published code.
    """

    def __init__(self, model: TrainingModel, config: TrainingConfig, published_tokens: bool = False) -> None:
        super().__init__()
        if not model.attention_weights:
            raise ModelError("this model offers no cross-attention weights to train")
        self.model, self.config = model, config
        self.names = tuple(model.attention_weights)
        self.weights = nn.ParameterList(model.attention_weights.values())
        self.rows = nn.ParameterList(model.token_rows)
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        if published_tokens and len(config.token_names) > 1:
            for rows in self.rows:
                rows.register_hook(_without_last)
        self._start = [parameter.detach().float().cpu().clone() for parameter in self.parameters()]

    def forward(self, batch: ConceptBatch) -> tuple[Tensor, Terms]:
        """The loss of one micro-batch: [] and its terms."""
        model, photos = self.model, len(batch.masks)
        noisy = model.noise.noisy(batch.latents, batch.noise, batch.timesteps)
        target = model.noise.target(batch.latents, batch.noise, batch.timesteps)
        text = model.encode_text(batch.prompts)
        difference = model.predict(noisy, batch.timesteps, text, batch.time_ids).float() - target
        channels = difference.shape[1]
        terms = {"error": channels * masked_mse(difference[:photos], batch.masks)}
        if photos < len(difference):
            terms["prior"] = self.config.prior_weight * masked_mse(difference[photos:])
        return torch.stack(list(terms.values())).sum(), terms

    @torch.no_grad()
    def shown(self) -> Conditioning:
        """A photo of the first concept."""
        return self.model.encode_text([" ".join(["photo of a", *self.config.token_names[:1], self.config.subject])])

    @torch.no_grad()
    def residual(self) -> Tensor:
        """How far each parameter moved, an L2 norm each."""
        moved = [
            (parameter.detach().float().cpu() - start).norm()
            for parameter, start in zip(self.parameters(), self._start, strict=True)
        ]
        return torch.stack(moved)

    def delta(self, class_words: Sequence[str] = (), layers_per_block: int = 2, **facts: str) -> Delta:
        """What was learned so far, as whole weights."""
        weights: dict[str, Change] = {
            name: Whole(weight.detach().float().cpu().clone())
            for name, weight in zip(self.names, self.weights, strict=True)
        }
        words = [*class_words, *[""] * len(self.config.token_names)]
        tokens = [
            ModifierToken(name, tuple(rows[place].detach().float().cpu().clone() for rows in self.rows), words[place])
            for place, name in enumerate(self.config.token_names)
        ]
        return make_delta(weights, tokens, facts, layers_per_block)


def _without_last(gradient: Tensor) -> Tensor:
    kept = gradient.clone()
    kept[-1] = 0
    return kept
