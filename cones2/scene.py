"""From a prompt, residuals and a layout to what the sampler needs: conditioning and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from .concepts.residual import Residual, add_residuals, check_width
from .diffusers_models.latent_model import EncodedPrompt, StableDiffusion
from .guidance.cross_attention import DEFAULT_GUIDANCE_WEIGHT, LayoutBias
from .guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, OutsideMode, weight_maps
from .layout.regions import ColorEntry, Layout
from .prompt.tokens import Claim, Span, locate_subjects
from .published.rules import PublishedRules, PublishedSubject, published_maps

PlacedResidual = tuple[Residual, Sequence[Span]]


@dataclass(frozen=True)
class GuidanceNumbers:
    """guidance_weight: g (0.05–0.10 recommended). outside_weight: weight outside. outside_mode: where outside is."""

    guidance_weight: float = DEFAULT_GUIDANCE_WEIGHT
    outside_weight: float = DEFAULT_OUTSIDE_WEIGHT
    outside_mode: OutsideMode = "outside"


@dataclass(frozen=True, eq=False)
class Scene:
    """Ready to sample. positive, negative: conditioning [1, L, d]. claims: the layout's subjects in the prompt."""

    positive: Tensor
    negative: Tensor
    guidance: LayoutBias | None = None
    claims: tuple[Claim, ...] = ()


def compose(
    model: StableDiffusion,
    prompt: EncodedPrompt,
    negative: EncodedPrompt,
    residuals: Sequence[PlacedResidual],
    layout: Layout | None,
    numbers: GuidanceNumbers = GuidanceNumbers(),
    claims: Sequence[Claim] | None = None,
) -> Scene:
    """The scene of an encoded prompt: residuals added at their rows, the layout bound to its subjects.

    claims: the tokens of each region; found by the regions' phrases when not given.
    Raises ResidualError for a residual of another width, PromptError for a region whose subject is
    not in the prompt.
    """
    positive = _with_residuals(model, prompt, residuals)
    if layout is None:
        return Scene(positive, negative.conditioning)
    if claims is None:
        claims = locate_subjects(prompt.tokens, layout.subjects, model.tokenize, share=True)
    maps = weight_maps(layout, [claim.spans for claim in claims], numbers.outside_weight, numbers.outside_mode)
    return Scene(positive, negative.conditioning, LayoutBias(maps, numbers.guidance_weight), tuple(claims))


def compose_published(
    model: StableDiffusion,
    rules: PublishedRules,
    prompt: str,
    negative: str,
    residuals: Sequence[PlacedResidual],
    layout: tuple[Image.Image, Sequence[ColorEntry]] | None,
    numbers: GuidanceNumbers,
) -> Scene:
    """The scene as the published code makes it; see `cones2.published`."""
    encoded, unprompted = model.encode_published(rules, prompt, negative)
    positive = _with_residuals(model, encoded, residuals)
    if layout is None:
        return Scene(positive, unprompted.conditioning)
    picture, table = layout
    subjects = [PublishedSubject(entry, tuple(id for id, _ in model.tokenize(entry.subject))) for entry in table]
    ids = [-1] * encoded.tokens.length  # −1: start, end and pad tokens, which no phrase contains
    for token in encoded.tokens.tokens:
        ids[token.row] = token.id
    maps = published_maps(picture, subjects, ids, numbers.outside_weight)
    return Scene(positive, unprompted.conditioning, LayoutBias(maps, numbers.guidance_weight, joint_batch=True))


def _with_residuals(model: StableDiffusion, prompt: EncodedPrompt, residuals: Sequence[PlacedResidual]) -> Tensor:
    for residual, _ in residuals:
        check_width(residual, model.width)
    return add_residuals(prompt.conditioning, residuals)
