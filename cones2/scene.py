"""From a prompt, concepts and a layout to what a sampler needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .concepts.collage import PhotoPlace, collages, photo_places
from .concepts.concept import Concept, PlacedConcept, changed
from .errors import Cones2Error
from .guidance.heat_maps import Observer
from .guidance.regional import RegionalProjections
from .guidance.terms import AttentionTerm
from .layout.regions import Layout
from .picture_adapter.references import References
from .prompt.claims import Claim, locate_subjects
from .prompt.conditioning import Conditioning, EncodedPrompt, PromptFormat
from .prompt.tokens import Tokenize
from .rules import DEFAULT_GUIDANCE, OUR_RULES, GuidanceSettings, Rules
from .sampling.euler import Callback
from .sampling.noise import Noise
from .sampling.settings import SamplingSettings
from .sampling.start import PURE_NOISE, Start, photo_shift


@dataclass(frozen=True, eq=False)
class Scene:
    """Ready to sample.

    positive, negative: conditioning of batch 1, equally long.
    terms: what changes the attention to the positive prompt in guided steps.
    claims: the tokens of each region of the layout.
    rules: by which the scene was read, and is sampled.
    photos: the subjects' cut-outs in their regions, for a start from them.
    references: subjects whose pictures an image adapter adds to the attention, or None.
    regional: subjects' own keys and values in their regions.
    """

    positive: Conditioning
    negative: Conditioning
    terms: tuple[AttentionTerm, ...] = ()
    claims: tuple[Claim, ...] = ()
    rules: Rules = OUR_RULES
    photos: tuple[PhotoPlace, ...] = ()
    references: References | None = None
    regional: tuple[RegionalProjections, ...] = ()


class LatentModel(Protocol):
    """A text-to-image model, whoever owns its networks."""

    @property
    def noise(self) -> Noise:
        """How it was trained to denoise."""
        ...

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell."""
        ...

    @property
    def default_size(self) -> int:
        """Side in pixels of the square pictures it was made for."""
        ...

    @property
    def tokenize(self) -> Tokenize:
        """Its live tokenizer."""
        ...

    def encode_prompts(self, *prompts: str, format: PromptFormat = PromptFormat.CHUNKED) -> list[EncodedPrompt]:
        """The prompts encoded together, all with as many tokens as the longest needs."""
        ...

    def sample(
        self,
        scene: Scene,
        settings: SamplingSettings,
        callback: Callback | None = None,
        observer: Observer | None = None,
    ) -> Tensor:
        """Latents [images, C, h, w] of a scene."""
        ...

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], −1 … 1, to latents [B, C, h, w]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] to pictures [B, 3, H, W], about −1 … 1."""
        ...


def compose(
    model: LatentModel,
    prompt: str,
    concepts: Sequence[Concept] = (),
    layout: Layout | None = None,
    negative: str = "",
    guidance: GuidanceSettings = DEFAULT_GUIDANCE,
    rules: Rules = OUR_RULES,
) -> Scene:
    """The scene of a prompt: each concept at its subject's tokens, each region bound to its subject.

    Raises PromptError for a subject that is not in the prompt, ResidualError for a residual of another model.
    """
    positive, unprompted = model.encode_prompts(prompt, negative, format=rules.prompt_format)
    claims = locate_subjects(positive.tokens, [concept.reference for concept in concepts], model.tokenize)
    placed = [concept.at(claim) for concept, claim in zip(concepts, claims, strict=True)]
    return bind(model, positive, unprompted, placed, layout, guidance, rules=rules)


def bind(
    model: LatentModel,
    prompt: EncodedPrompt,
    negative: EncodedPrompt,
    concepts: Sequence[PlacedConcept],
    layout: Layout | None,
    guidance: GuidanceSettings = DEFAULT_GUIDANCE,
    claims: Sequence[Claim] | None = None,
    rules: Rules = OUR_RULES,
) -> Scene:
    """The scene of an encoded prompt whose concepts are placed already.

    claims: the tokens of each region; found by the regions' phrases when not given.
    Raises ResidualError for a residual of another width, PromptError for a region whose subject is
    not in the prompt.
    """
    positive = changed(prompt.conditioning, concepts)
    if layout is None:
        return Scene(positive, negative.conditioning, rules=rules)
    if claims is None:
        claims = rules.claim_regions(layout, prompt.tokens, model.tokenize)
    term = rules.layout_term(layout, claims, prompt.tokens, model.tokenize, guidance)
    photos = photo_places(layout.regions, [claim.spans for claim in claims], concepts) if claims else ()
    return Scene(positive, negative.conditioning, (term,), tuple(claims), rules, photos)


def start_of(model: LatentModel, scene: Scene, settings: SamplingSettings) -> Start:
    """Where the pictures of a scene begin. Raises Cones2Error for a start from photos that nobody gave."""
    if not settings.photo_start:
        return PURE_NOISE
    if not scene.photos:
        raise Cones2Error(
            "photo_start needs a cut-out of a photo and a region for some subject: take a residual that holds "
            "cut-outs, or give them"
        )
    drawn = collages(scene.photos, settings.seeds, settings.height, settings.width)
    latents = model.encode(drawn.pictures * 2 - 1)
    return Start(photo_shift(latents, drawn.cells(*latents.shape[-2:]), settings.photo_start))
