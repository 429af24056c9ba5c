"""What training was worth: the residual against the plain word and against its description, on held-out scenes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..guidance.heat_maps import subject_attention
from ..guidance.joint import JointLayoutBias
from ..guidance.terms import AttentionPass
from ..layout.grid import coverage
from .loop import Trainer
from .methods import DirectMethod
from .objective import Batch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """How one residual does on the held-out scenes.

    error: of the denoising. elsewhere: share of the word's attention that falls on the scene's other thing, 0–1,
    without the layout term.
    """

    error: float
    elsewhere: float


@dataclass(frozen=True)
class Comparison:
    """word: without a residual. description: the described word, where there is a description. residual: as learned."""

    word: Standing
    residual: Standing
    description: Standing | None = None

    def facts(self) -> Mapping[str, str]:
        """For the residual's metadata."""
        standings = {"word": self.word, "residual": self.residual, "description": self.description}
        known = {name: standing for name, standing in standings.items() if standing is not None}
        return {
            **{f"scenes_error_{name}": f"{standing.error:.6g}" for name, standing in known.items()},
            **{f"attention_elsewhere_{name}": f"{standing.elsewhere:.4g}" for name, standing in known.items()},
        }

    @property
    def helped(self) -> bool:
        """Whether the residual has a lower error than the word and its description."""
        others = [self.word.error] if self.description is None else [self.word.error, self.description.error]
        return self.residual.error < min(others)

    def sentence(self) -> str:
        """Whether the training was worth it."""
        text = f"on held-out scenes the error is {self.residual.error:.4f}, {self.word.error:.4f} with the word alone"
        if self.description is not None:
            text += f", {self.description.error:.4f} with its description"
        text += (
            f"; {self.residual.elsewhere:.0%} of the word's attention falls on other things"
            f" ({self.word.elsewhere:.0%} without the residual)"
        )
        if self.helped:
            return text
        than = "the word alone" if self.description is None else "the description"
        return f"{text}: the training found nothing better than {than}"


def compare(trainer: Trainer, residual: Tensor) -> Comparison | None:
    """How a residual [token_num, d] stands; None for a run without held-out scenes."""
    method, batches = trainer.method, [batch for _, batch in trainer.held_out]
    if not any(_has_others(batch) for batch in batches) or not isinstance(method, DirectMethod):
        return None
    described = method.described_start()

    def standing(vectors: Tensor) -> Standing:
        shares = [share for batch in batches for share in attention_elsewhere(method, batch, vectors)]
        return Standing(trainer.validate(vectors), sum(shares) / max(len(shares), 1))

    return Comparison(
        standing(torch.zeros_like(residual)),
        standing(residual),
        None if described is None else standing(described),
    )


@torch.no_grad()
def attention_elsewhere(method: DirectMethod, batch: Batch, residual: Tensor) -> list[float]:
    """Share of the subject's attention that falls on the other thing, of each sample that has one, without any term."""
    terms = [one for term in batch.terms if isinstance(term, JointLayoutBias) for one in term.terms]
    sums: dict[int, list[float]] = {}

    def observe(q: Tensor, k: Tensor, bias: Tensor | None, grid: tuple[int, int]) -> None:
        for entry, term in enumerate(terms):
            if len(term.maps.images) == 2:
                own, other = term.maps.images
                heat = subject_attention(q[entry : entry + 1], k[entry : entry + 1], None, own.token_indices)[0].cpu()
                inside = coverage(other.regions[0].mask, *grid).flatten().float()
                sums.setdefault(entry, []).append(float((heat * inside).sum() / heat.sum().clamp(min=1e-12)))

    noisy = method.model.noise.noisy(batch.latents, batch.noise, batch.timesteps)
    conditioning = method.with_residual(residual.to(batch.latents.device), batch.captions)
    method.model.predict(noisy, batch.timesteps, conditioning, batch.time_ids, AttentionPass(observer=observe))
    return [sum(values) / len(values) for values in sums.values()]


def _has_others(batch: Batch) -> bool:
    terms = [one for term in batch.terms if isinstance(term, JointLayoutBias) for one in term.terms]
    return any(len(term.maps.images) == 2 for term in terms)
