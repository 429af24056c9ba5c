"""From cases and an arm to pictures: one batch of different prompts, layouts and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..concepts.residual import Residual
from ..diffusers_models.latent_model import DiffusersModel
from ..errors import ConfigError
from ..layout.regions import Layout, layout_from_masks
from ..scene import Scene, compose
from .arms import PEERS, Arm
from .batch import joint_scene
from .cases import Case
from .peers import sample_peer
from .starts import CutOut, Start, collage, encoded, sample_from, shifted


@dataclass(frozen=True, eq=False)
class Material:
    """What arms draw with.

    residuals: by the subject's name. oracles: the same for what words cannot say of its look, where there is
    something. cutouts: of a subject by name and case, for starts from photos.
    background: the picture [3, H, W] in [0, 1] that a case's collage is pasted on.
    """

    model: DiffusersModel
    residuals: Mapping[str, Residual] = field(default_factory=dict)
    oracles: Mapping[str, Residual] = field(default_factory=dict)
    cutouts: Callable[[str, Case], CutOut] | None = None
    background: Callable[[Case], Tensor] | None = None


@torch.inference_mode()
def draw(material: Material, arm: Arm, cases: Sequence[Case]) -> Tensor:
    """Pictures [B, 3, H, W] in [0, 1] of the cases, which have equally many subjects.

    The same cases in the same order give the same bits. Raises ConfigError for an arm that needs
    residuals or photos that the material lacks.
    """
    model = material.model
    settings = arm.settings(tuple(case.seed for case in cases), model.default_size)
    if arm.placing in PEERS:
        latents = sample_peer(model, arm, cases, [residuals_of(material, arm, case) for case in cases])
    else:
        scene = joint_scene([scene_of(material, arm, case) for case in cases])
        if arm.start == "noise":
            latents = model.sample(scene, settings)
        else:
            latents = sample_from(model, scene, settings, _start(material, arm, cases))
    return (model.decode(latents).float() / 2 + 0.5).clamp(0, 1).cpu()


def scene_of(material: Material, arm: Arm, case: Case) -> Scene:
    """The scene of one case as the arm has it."""
    prompt = case.described if arm.looks in ("described", "oracle") else case.prompt
    layout = layout_of(case) if arm.placing == "layout" else None
    concepts = list(residuals_of(material, arm, case).values())
    return compose(material.model, prompt, concepts, layout, guidance=arm.guidance)


def layout_of(case: Case) -> Layout:
    """The regions of a case whose subjects all have masks."""
    masks = [subject.place for subject in case.subjects]
    return layout_from_masks([m for m in masks if isinstance(m, Tensor)], [subject.word for subject in case.subjects])


def residuals_of(material: Material, arm: Arm, case: Case) -> dict[str, Residual]:
    """Word → residual, of the case's subjects, where the arm uses residuals."""
    if arm.looks == "oracle":
        return {s.word: material.oracles[s.name] for s in case.subjects if s.name in material.oracles}
    if arm.looks != "residuals":
        return {}
    missing = [subject.name for subject in case.subjects if subject.name not in material.residuals]
    if missing:
        raise ConfigError(f'the arm "{arm.name}" needs a residual of {", ".join(missing)}, and there is none')
    return {subject.word: material.residuals[subject.name] for subject in case.subjects}


def _start(material: Material, arm: Arm, cases: Sequence[Case]) -> Start:
    if material.cutouts is None or material.background is None:
        raise ConfigError(f'the arm "{arm.name}" needs cut-outs of the subjects\' photos, and there are none')
    side = material.model.default_size
    pictures, covered = [], []
    for case in cases:
        things = [(material.cutouts(s.name, case), s.place) for s in case.subjects if isinstance(s.place, Tensor)]
        ground = material.background(case) if arm.start == "collage" else torch.full((3, side, side), 0.5)
        picture, cover = collage(ground, things)
        pictures.append(picture)
        covered.append(cover)
    if arm.start == "collage":
        return Start(encoded(material.model, torch.stack(pictures)), arm.first_step)
    return shifted(material.model, torch.stack(pictures), torch.stack(covered), arm.strength)
