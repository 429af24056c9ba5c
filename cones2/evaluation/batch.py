"""Scenes with different prompts and layouts as one scene, so that one batch samples them all.

A joint scene goes through the model's own `sample`, with one seed per scene: nothing is computed a second way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from ..errors import Cones2Error
from ..guidance.cross_attention import LayoutBias
from ..guidance.joint import JointLayoutBias
from ..prompt.conditioning import Conditioning
from ..scene import Scene


def joint_scene(scenes: Sequence[Scene]) -> Scene:
    """One scene whose b-th picture is of `scenes[b]`: sample it with as many seeds as there are scenes.

    Raises Cones2Error for scenes that cannot share a batch: prompts of different lengths or different
    rules, other terms than one layout each, or a layout in some of them only.
    """
    first = scenes[0]
    lengths = {scene.positive.embeds.shape[1] for scene in scenes} | {first.negative.embeds.shape[1]}
    if len(lengths) > 1 or any(scene.rules is not first.rules for scene in scenes):
        raise Cones2Error(f"scenes of one batch need prompts of one length and the same rules, not {sorted(lengths)}")
    positive, negative = _stacked([s.positive for s in scenes]), _stacked([s.negative for s in scenes])
    photos = tuple(replace(place, picture=index) for index, scene in enumerate(scenes) for place in scene.photos)
    counts = {len(scene.terms) for scene in scenes}
    if counts == {0}:
        return Scene(positive, negative, rules=first.rules, photos=photos)
    terms = [term for scene in scenes for term in scene.terms if isinstance(term, LayoutBias)]
    if counts != {1} or len(terms) != len(scenes) or any(term.joint_batch for term in terms):
        raise Cones2Error("scenes of one batch need one layout each, or none")
    term = JointLayoutBias(cast(Sequence[LayoutBias], terms))
    return Scene(positive, negative, (term,), rules=first.rules, photos=photos)


def _stacked(parts: Sequence[Conditioning]) -> Conditioning:
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Conditioning(torch.cat([part.embeds for part in parts]), torch.cat(pooled) if pooled else None)
