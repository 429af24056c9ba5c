"""The published rules: what the Cones 2 code and a derived project compute where we decide otherwise.

They exist for parity tests and to reproduce old results; nothing else should use them. Under them

- colors match exactly whatever the transparency, and a color the picture lacks excludes its subject everywhere;
- a subject is every occurrence of its token run, punctuation included, also inside other words'
  runs, and weights of subjects that share a token are summed;
- residuals go to token rows typed by hand;
- small regions may vanish at coarse layers;
- the standard deviation is taken over all images of a batch jointly;
- the σ of the bias comes from a second table with `guidance_steps` entries;
- the derived project ("multi-concept") does not pad its prompts and scales cfg by 1 + σ/σ_max.

Source: ali-vilab/Cones-V2 (MIT), RayWang1226/Multiple-Concept-Personalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, WeightImage, WeightMaps
from ..layout.colors import nearest_color
from ..layout.regions import ColorEntry, Layout, Region


class PublishedRules(str, Enum):
    """Whose rules to reproduce."""

    CONES2 = "cones2"
    MULTI_CONCEPT = "multi-concept"

    @property
    def unpadded_prompt(self) -> bool:
        """Encode as many rows as the prompt has words, plus two."""
        return self is PublishedRules.MULTI_CONCEPT

    @property
    def dynamic_cfg(self) -> bool:
        """Scale cfg by 1 + σ/σ_max."""
        return self is PublishedRules.MULTI_CONCEPT


@dataclass(frozen=True)
class PublishedSubject:
    """One line of a published color table with the token ids of its phrase."""

    entry: ColorEntry
    token_ids: tuple[int, ...]


def published_layout(image: Image.Image, table: Sequence[ColorEntry]) -> Layout:
    """Exact colors, transparency ignored; a region may be empty."""
    labels = nearest_color(np.asarray(image.convert("RGB")), [entry.color for entry in table], tolerance=0)
    regions = [
        Region(entry.subject, torch.from_numpy(labels == index), entry.weight, entry.color)
        for index, entry in enumerate(table)
    ]
    return Layout(tuple(regions), *labels.shape)


def published_maps(
    image: Image.Image,
    subjects: Sequence[PublishedSubject],
    prompt_ids: Sequence[int],
    outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
) -> WeightMaps:
    """Summed weights of every token run; prompt_ids: all rows of the encoded prompt, specials included."""
    layout = published_layout(image, [subject.entry for subject in subjects])
    summed: dict[int, Tensor] = {}
    for region, subject in zip(layout.regions, subjects, strict=True):
        weighted = _published_image(region, outside_weight)
        for start in match_positions(prompt_ids, subject.token_ids):
            for row in range(start, start + len(subject.token_ids)):
                summed[row] = summed.get(row, torch.zeros(())) + weighted
    return WeightMaps(tuple(WeightImage(image, (row,), ()) for row, image in sorted(summed.items())))


def match_positions(prompt_ids: Sequence[int], phrase_ids: Sequence[int]) -> list[int]:
    """Span at which the phrase's token ids start in the prompt's, overlaps included."""
    size = len(phrase_ids)
    wanted = list(phrase_ids)
    return [at for at in range(len(prompt_ids) - size + 1) if size and list(prompt_ids[at : at + size]) == wanted]


def _published_image(region: Region, outside_weight: float) -> Tensor:
    weighted = region.mask * float(region.weight)
    # an active weight of 0 cannot be told from "outside" and becomes the negative weight
    return torch.where(weighted != 0, weighted, torch.tensor(float(outside_weight)))
