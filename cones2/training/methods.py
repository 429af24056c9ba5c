"""The two ways to learn a residual: tune the text encoder (paper), or the vectors themselves (direct)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ModelError
from ..prompt.conditioning import Conditioning, together
from .captions import Caption, CaptionBook, caption_book, place_subject
from .config import TrainingConfig
from .model import TrainingModel
from .objective import Batch, denoising_error, drift, masked_mse
from .words import described_residual, word_basis

Terms = dict[str, Tensor]


class LearningMethod(nn.Module, ABC):
    """What the training loop drives: `method(batch)` → (loss [], its terms)."""

    model: TrainingModel

    @abstractmethod
    def residual(self) -> Tensor:
        """What was learned so far as one tensor, float32 on the CPU, detached: finite as long as training is."""

    def updated(self) -> None:
        """Called after each update of the parameters."""


class ResidualMethod(LearningMethod):
    """What learns a residual: `residual()` is the result.

    book: the captions: 27 of the subject alone, and those of scenes with their partners.
    captions: the same, with the tokens that the residual is for.
    frozen: their conditioning by the untuned encoder, kept in checkpoints so that a resumed run
    measures against the same target.
    """

    def __init__(self, model: TrainingModel, config: TrainingConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        partners = config.partner_phrases if config.scenes else ()
        self.book: CaptionBook = caption_book(config.subject, partners, model.prompt_tokens, model.tokenize)
        self.captions = [_shortened(caption, config) for caption in self.book.captions]
        with torch.no_grad():
            frozen = _encode_each(model, [caption.text for caption in self.captions])
        if frozen.embeds.shape[-1] != model.width:
            raise ModelError(
                f"the text conditioning is {frozen.embeds.shape[-1]} wide, but {model.width} was announced"
            )
        self.register_buffer("frozen_rows", frozen.embeds.float())
        self.register_buffer("frozen_pooled", frozen.pooled)
        self._lengths = frozen.lengths
        places = torch.tensor([caption.span for caption in self.captions], device=frozen.embeds.device)
        self.register_buffer("places", places)

    @property
    def frozen(self) -> Conditioning:
        """The captions' conditioning by the untuned encoder: embeds [captions, L, d]."""
        return Conditioning(cast(Tensor, self.frozen_rows), cast("Tensor | None", self.frozen_pooled), self._lengths)

    @property
    def token_num(self) -> int:
        """Rows of the residual."""
        return len(self.captions[0].span)

    def with_residual(self, residual: Tensor, captions: Sequence[int]) -> Conditioning:
        """Frozen conditioning of some captions [B, L, d] with the residual [token_num, d] added at its tokens."""
        chosen = self.frozen.select(captions)
        places = cast(Tensor, self.places)[list(captions)]  # [B, token_num]
        batch = torch.arange(len(captions), device=places.device)[:, None]
        added = residual.to(chosen.embeds)[None].expand(len(captions), -1, -1)
        return chosen._replace(embeds=chosen.embeds.index_put((batch, places), added, accumulate=True))

    @torch.no_grad()
    def shown(self) -> Conditioning:
        """The first caption with the residual so far."""
        return self.with_residual(self.residual(), [0])

    @abstractmethod
    def residual(self) -> Tensor:
        """The residual learned so far: [token_num, d] float32 on the CPU, detached."""


class PaperMethod(ResidualMethod):
    """Tune the text encoder on the bare subject phrase; the residual is its mean shift over the captions.

    Cones 2, section 3.1: error + λ1 · ‖drift of the start token‖ + λ2 · ‖drift of the tokens after the subject‖.
    All samples of a batch share the bare prompt, so it is encoded once. Changes `model.text_weights`.
    """

    def __init__(self, model: TrainingModel, config: TrainingConfig) -> None:
        super().__init__(model, config)
        if not model.text_weights:
            raise ModelError("the paper method tunes the text encoder, but this model offers no text weights")
        self.bare = _shortened(place_subject("{}", config.subject, model.prompt_tokens, model.tokenize), config)
        with torch.no_grad():
            target = model.encode_text([self.bare.text])
        self.register_buffer("bare_rows", target.embeds.float())
        self.register_buffer("bare_pooled", target.pooled)
        self.weights = nn.ParameterList(model.text_weights.values())
        for weight in self.weights:
            weight.requires_grad_(True)

    def forward(self, batch: Batch) -> tuple[Tensor, Terms]:
        """The loss of one micro-batch: [] and its terms."""
        embeds = self._encode([self.bare.text]).embeds.float()
        count = len(batch.latents)
        pooled = cast("Tensor | None", self.bare_pooled)
        error, _ = denoising_error(
            self.model,
            batch,
            Conditioning(embeds.expand(count, -1, -1), None if pooled is None else pooled.expand(count, -1)),
        )
        first, rest = drift(embeds[0], cast(Tensor, self.bare_rows)[0], self.token_num)
        loss = error + self.config.drift_first * first + self.config.drift_rest * rest
        return loss, {"error": error, "drift_first": first, "drift_rest": rest}

    @torch.no_grad()
    def residual(self) -> Tensor:
        """Mean over the captions of tuned − frozen conditioning at the subject's tokens."""
        tuned = _encode_each(self.model, [caption.text for caption in self.captions]).embeds.float()
        moved = tuned - self.frozen.embeds
        places = cast(Tensor, self.places)
        return moved[torch.arange(len(places), device=places.device)[:, None], places].mean(0).cpu()

    def _encode(self, prompts: Sequence[str]) -> Conditioning:
        precision = getattr(torch, self.config.precision)
        with torch.autocast(self.model.device.type, precision, enabled=precision != torch.float32):
            return self.model.encode_text(prompts)


class DirectMethod(ResidualMethod):
    """Learn the vectors themselves on the frozen encoder, whose captions are encoded once.

    Each sample of a batch uses another random caption. The only parameter is `vectors` [token_num, d], which start
    at 0, or at what a description says.
    """

    def __init__(self, model: TrainingModel, config: TrainingConfig) -> None:
        super().__init__(model, config)
        shape = (self.token_num, model.width)
        self.register_buffer("described", self._described())
        self.vectors = nn.Parameter(self._start(shape))
        self.register_buffer("averaged", torch.zeros(shape, device=model.device))
        self.register_buffer("averaged_weight", torch.zeros((), device=model.device))

    def forward(self, batch: Batch) -> tuple[Tensor, Terms]:
        """The loss of one micro-batch: [] and its terms."""
        vectors = self._vectors()
        conditioning = self.with_residual(vectors, batch.captions)
        error, prediction = denoising_error(self.model, batch, conditioning)
        terms = {"error": error}
        if self.config.preservation:
            terms["preservation"] = self.config.preservation * self._change(batch, prediction)
        if self.config.norm_penalty:
            terms["norm"] = self.config.norm_penalty * vectors.square().sum(1).mean()
        return torch.stack(list(terms.values())).sum(), terms

    def residual(self) -> Tensor:
        """The vectors, or their moving average where one is kept."""
        weight = cast(Tensor, self.averaged_weight)
        vectors = cast(Tensor, self.averaged) / weight if weight > 0 else self._vectors()
        return vectors.detach().to("cpu", torch.float32, copy=True)

    @torch.no_grad()
    def updated(self) -> None:
        """Limit the rows' norms and follow the moving average."""
        if self.config.max_norm:
            self.vectors.copy_(torch.renorm(self.vectors, 2, 0, self.config.max_norm))
        if self.config.average:
            share = 1 - self.config.average
            cast(Tensor, self.averaged).lerp_(self.vectors, share)
            cast(Tensor, self.averaged_weight).lerp_(torch.ones_like(cast(Tensor, self.averaged_weight)), share)

    def described_start(self) -> Tensor | None:
        """What the description alone says: [token_num, d] float32 on the CPU; None without one."""
        described = cast("Tensor | None", self.described)
        return None if described is None else described.float().cpu()

    def _vectors(self) -> Tensor:
        """The residual that the parameters stand for: [token_num, d]."""
        return self.vectors

    def _start(self, shape: tuple[int, int]) -> Tensor:
        described = cast("Tensor | None", self.described)
        return torch.zeros(shape, device=self.model.device) if described is None else described.clone()

    def _described(self) -> Tensor | None:
        if not self.config.description:
            return None
        alone = [self.captions[index] for index in self.book.choices[""]]
        return described_residual(self.model, self.config.subject, self.config.description, alone)

    def _change(self, batch: Batch, prediction: Tensor) -> Tensor:
        """Squared change of the prediction against the one without residual, outside the masks."""
        with torch.no_grad():
            _, plain = denoising_error(self.model, batch, self.frozen.select(batch.captions))
        return masked_mse(prediction.float() - plain, None if batch.masks is None else 1 - batch.masks)


class BasisMethod(DirectMethod):
    """Learn coefficients of directions in which words change the subject's embeddings: what words can say, and no more.

    The parameter `vectors` [1 + size, 1] holds the mean's coefficient, then those of the directions.
    """

    def __init__(self, model: TrainingModel, config: TrainingConfig) -> None:
        super().__init__(model, config)
        directions, mean = word_basis(model, config.subject, self.captions[0], config.basis)
        self.register_buffer("directions", torch.cat([mean[None], directions]))  # [1 + size, token_num, d]
        start = torch.zeros(len(directions) + 1, 1, device=model.device)
        start[0] = 1.0
        described = cast("Tensor | None", self.described)
        if described is not None:
            start[1:, 0] = projection(described - mean, directions)
        self.vectors = nn.Parameter(start)
        self.averaged = torch.zeros_like(self._vectors().detach())

    @torch.no_grad()
    def updated(self) -> None:
        """Follow the moving average."""
        if self.config.average:
            share = 1 - self.config.average
            self.averaged.lerp_(self._vectors(), share)
            cast(Tensor, self.averaged_weight).lerp_(torch.ones_like(cast(Tensor, self.averaged_weight)), share)

    def _vectors(self) -> Tensor:
        return (self.vectors[:, :, None] * cast(Tensor, self.directions)).sum(0)


def projection(vectors: Tensor, directions: Tensor) -> Tensor:
    """Coefficients [n] of orthogonal directions [n, token_num, d] that come nearest to vectors [token_num, d]."""
    along = (directions * vectors).sum((1, 2))
    return along / directions.square().sum((1, 2)).clamp(min=1e-12)


def make_method(model: TrainingModel, config: TrainingConfig) -> ResidualMethod:
    """The method that the configuration names."""
    if config.method == "paper":
        return PaperMethod(model, config)
    return BasisMethod(model, config) if config.basis else DirectMethod(model, config)


def _shortened(caption: Caption, config: TrainingConfig) -> Caption:
    count = len(caption.span) if config.token_num is None else config.token_num
    if not 1 <= count <= len(caption.span):
        raise ConfigError(f'token_num is {count}, but "{config.subject}" has {len(caption.span)} tokens')
    return Caption(caption.text, caption.span[:count])


def _encode_each(model: TrainingModel, prompts: Sequence[str]) -> Conditioning:
    """Prompts encoded one by one, so that the peak memory does not grow with their number."""
    return together([model.encode_text([prompt]) for prompt in prompts])
