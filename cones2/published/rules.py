"""The published rules: what the Cones 2 code and a derived project compute where we decide otherwise.

They exist for parity tests and to reproduce old results; nothing else should use them. Under them

- colors match exactly whatever the transparency, and a color the picture lacks excludes its subject everywhere;
- a subject is every occurrence of its token run, punctuation included, also inside other words'
  runs, and weights of subjects that share a token are summed;
- residuals go to token indices typed by hand;
- small regions may vanish at coarse layers;
- the standard deviation is taken over all images of a batch jointly;
- the σ of the bias comes from a second table with `guidance_steps` entries;
- the derived project ("multi-concept") does not pad its prompts and scales cfg by 1 + σ/σ_max.

Source: ali-vilab/Cones-V2 (MIT), RayWang1226/Multiple-Concept-Personalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import LayoutError
from ..guidance.cross_attention import LayoutBias
from ..guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, WeightImage, WeightMaps
from ..layout.colors import nearest_color
from ..layout.painted import ColorEntry
from ..layout.regions import Layout, Region
from ..prompt.claims import Claim
from ..prompt.conditioning import PromptFormat
from ..prompt.tokens import PromptTokens, Tokenize
from ..rules import GuidanceSettings, Rules
from ..sampling.noise import Noise
from ..sampling.schedule import Schedule

_MAX_PIXELS = 4096**2


class Cones2Rules(Rules):
    """The rules of ali-vilab/Cones-V2."""

    name: ClassVar[str] = "cones2"
    prompt_format: ClassVar[PromptFormat] = PromptFormat.FIRST_CHUNK
    typed_positions: ClassVar[bool] = True

    def read_layout(self, picture: Image.Image, table: Sequence[ColorEntry], tolerance: float) -> Layout:
        """Exact colors, transparency ignored; a region may be empty. Pictures are not reduced, so they are bounded."""
        if picture.width * picture.height > _MAX_PIXELS:
            raise LayoutError(
                f"the layout picture is {picture.width} × {picture.height}: with published rules {_MAX_PIXELS:,} "
                "pixels are the limit"
            )
        labels = nearest_color(np.asarray(picture.convert("RGB")), [entry.color for entry in table], tolerance=0)
        regions = [
            Region(entry.subject, torch.from_numpy(labels == index), entry.weight, entry.color)
            for index, entry in enumerate(table)
        ]
        return Layout(tuple(regions), *labels.shape)

    def claim_regions(self, layout: Layout, prompt: PromptTokens, tokenize: Tokenize) -> list[Claim]:
        """None: `layout_term` searches the phrases by itself."""
        return []

    def layout_term(
        self,
        layout: Layout,
        claims: Sequence[Claim],
        prompt: PromptTokens,
        tokenize: Tokenize,
        guidance: GuidanceSettings,
    ) -> LayoutBias:
        """Every occurrence of a region's token ids is steered, whatever was claimed."""
        phrases = [tuple(piece.id for piece in tokenize(region.subject)) for region in layout.regions]
        maps = summed_maps(layout, phrases, all_ids(prompt), guidance.outside_weight)
        return LayoutBias(maps, guidance.guidance_weight, joint_batch=True)

    def guidance_sigmas(self, noise: Noise, schedule: Schedule, guided_steps: int) -> Tensor:
        """The noise levels of a run of as many steps as are guided."""
        return noise.schedule(guided_steps).sigmas if guided_steps else schedule.sigmas


class MultiConceptRules(Cones2Rules):
    """The rules of the derived project."""

    name: ClassVar[str] = "multi-concept"
    prompt_format: ClassVar[PromptFormat] = PromptFormat.UNPADDED
    scales_cfg: ClassVar[bool] = True


PUBLISHED_RULES: dict[str, Rules] = {rules.name: rules for rules in (Cones2Rules(), MultiConceptRules())}


def all_ids(prompt: PromptTokens) -> list[int]:
    """The id at every index of the conditioning; −1 for start, end and pad tokens, which no phrase contains."""
    ids = [-1] * prompt.length
    for token in prompt.tokens:
        ids[token.index] = token.piece.id
    return ids


def summed_maps(
    layout: Layout,
    phrases: Sequence[Sequence[int]],
    prompt_ids: Sequence[int],
    outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
) -> WeightMaps:
    """Weights of every occurrence of each region's token ids, summed where they share a token.

    phrases: token ids of each region's phrase. prompt_ids: one id per token of the conditioning.
    """
    summed: dict[int, Tensor] = {}
    for region, phrase in zip(layout.regions, phrases, strict=True):
        weights = _published_image(region, outside_weight)
        for start in match_positions(prompt_ids, phrase):
            for index in range(start, start + len(phrase)):
                summed[index] = summed.get(index, torch.zeros(())) + weights
    return WeightMaps(tuple(WeightImage(image, (index,), ()) for index, image in sorted(summed.items())))


def match_positions(prompt_ids: Sequence[int], phrase_ids: Sequence[int]) -> list[int]:
    """Indices at which the phrase's token ids start in the prompt's, overlaps included."""
    size = len(phrase_ids)
    wanted = list(phrase_ids)
    return [at for at in range(len(prompt_ids) - size + 1) if size and list(prompt_ids[at : at + size]) == wanted]


def _published_image(region: Region, outside_weight: float) -> Tensor:
    weighted = region.mask * float(region.weight)
    # an active weight of 0 looks like "outside" and becomes the outside weight
    return torch.where(weighted != 0, weighted, torch.tensor(float(outside_weight)))
