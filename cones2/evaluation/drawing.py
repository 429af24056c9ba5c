"""From cases and an arm to pictures: one batch of different prompts, layouts and seeds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..concepts.collage import PhotoPlace, pasted
from ..concepts.cutout import CutOut
from ..concepts.pictured import PicturedSubject
from ..concepts.residual import Residual
from ..diffusers_models.latent_model import DiffusersModel
from ..errors import ConfigError
from ..layout.regions import Layout, layout_from_masks
from ..picture_adapter.references import References
from ..picture_adapter.shares import RegionShares, region_shares
from ..prompt.claims import parse_phrase
from ..sampling.start import Start
from ..scene import Scene, compose
from .arms import PEERS, Arm
from .batch import joint_scene
from .cases import Case, Subject
from .peers import sample_peer


@dataclass(frozen=True, eq=False)
class Material:
    """What arms draw with.

    residuals: by the subject's name. oracles: the same for what words cannot say of its look, where there is
    something. cutouts: of a subject by name, out of each of its photos.
    background: the picture [3, H, W] in [0, 1] that a case's collage is pasted on: the photos are noised and
    sampled from there (SDEdit, arXiv 2108.01073), as a user would without any of this.
    references: what an image adapter makes of subjects, at a scale and with their shares of the picture.
    """

    model: DiffusersModel
    residuals: Mapping[str, Residual] = field(default_factory=dict)
    oracles: Mapping[str, Residual] = field(default_factory=dict)
    cutouts: Callable[[str], Sequence[CutOut]] | None = None
    background: Callable[[Case], Tensor] | None = None
    references: Callable[[Sequence[PicturedSubject], float, RegionShares | None], References] | None = None


@torch.inference_mode()
def draw(material: Material, arm: Arm, cases: Sequence[Case]) -> Tensor:
    """Pictures [B, 3, H, W] in [0, 1] of the cases, which have equally many subjects.

    The same cases in the same order give the same bits. Raises ConfigError for an arm that needs
    residuals or photos that the material lacks, or cannot draw two subjects of one class.
    """
    model = material.model
    if any(subject.occurrence for case in cases for subject in case.subjects) and arm.placing in PEERS:
        raise ConfigError(f'the arm "{arm.name}" cannot draw two subjects of one class')
    settings = arm.settings(tuple(case.seed for case in cases), model.default_size)
    if arm.placing in PEERS:
        latents = sample_peer(model, arm, cases, [residuals_of(material, arm, case) for case in cases])
    elif arm.looks == "pictures":  # each has references of its own
        alone = ((scene_of(material, arm, case), arm.settings((case.seed,), model.default_size)) for case in cases)
        latents = torch.cat([model.sample(scene, own) for scene, own in alone])
    else:
        scene = joint_scene([scene_of(material, arm, case) for case in cases])
        if arm.start == "collage":
            latents = model.sample_from(_collage(material, arm, cases), scene, settings)
        else:
            latents = model.sample(scene, settings)
    return (model.decode(latents).float() / 2 + 0.5).clamp(0, 1).cpu()


def scene_of(material: Material, arm: Arm, case: Case) -> Scene:
    """The scene of one case as the arm has it."""
    prompt = case.described if arm.looks in ("described", "oracle") else case.prompt
    layout = layout_of(case) if arm.placing == "layout" else None
    concepts = list(residuals_of(material, arm, case).values())
    scene = compose(material.model, prompt, concepts, layout, guidance=arm.guidance)
    if arm.looks == "pictures":
        return replace(scene, references=_references(material, arm, case, layout))
    return replace(scene, photos=_photos(material, arm, case)) if arm.start == "photos" else scene


def layout_of(case: Case) -> Layout:
    """The regions of a case whose subjects all have masks."""
    masks = [subject.place for subject in case.subjects]
    return layout_from_masks([m for m in masks if isinstance(m, Tensor)], [subject.phrase for subject in case.subjects])


def residuals_of(material: Material, arm: Arm, case: Case) -> dict[str, Residual]:
    """Phrase → residual, of the case's subjects, where the arm uses residuals."""
    if arm.looks == "oracle":
        return {s.phrase: _at(s, material.oracles[s.name]) for s in case.subjects if s.name in material.oracles}
    if arm.looks != "residuals":
        return {}
    missing = [subject.name for subject in case.subjects if subject.name not in material.residuals]
    if missing:
        raise ConfigError(f'the arm "{arm.name}" needs a residual of {", ".join(missing)}, and there is none')
    return {subject.phrase: _at(subject, material.residuals[subject.name]) for subject in case.subjects}


def _at(subject: Subject, residual: Residual) -> Residual:
    """The residual at this one of the prompt's same nouns."""
    return residual if subject.occurrence is None else replace(residual, occurrence=subject.occurrence)


def _references(material: Material, arm: Arm, case: Case, layout: Layout | None) -> References:
    """The photos of a case's subjects as the image adapter reads them."""
    if material.references is None or material.cutouts is None:
        raise ConfigError(f'the arm "{arm.name}" needs an image adapter: give --adapter and --image-encoder')
    subjects = [
        PicturedSubject(parse_phrase(subject.phrase), tuple(material.cutouts(subject.name)[: arm.photos]))
        for subject in case.subjects
    ]
    shares = None if layout is None else region_shares(layout, [subject.reference for subject in subjects])
    return material.references(subjects, arm.scale, shares)


def _photos(material: Material, arm: Arm, case: Case) -> tuple[PhotoPlace, ...]:
    """The cut-outs of a case's subjects, one of each, in their regions."""
    if material.cutouts is None:
        raise ConfigError(f'the arm "{arm.name}" needs cut-outs of the subjects\' photos, and there are none')
    mirrored = arm.flip and case.seed % 2 == 1
    places = []
    for subject in case.subjects:
        if isinstance(subject.place, Tensor):
            photos = material.cutouts(subject.name)[: arm.photos]
            cutout = random.Random(f"photo {subject.name} {case.seed}").choice(photos)
            places.append(PhotoPlace((cutout.flipped() if mirrored else cutout,), subject.place))
    return tuple(places)


def _collage(material: Material, arm: Arm, cases: Sequence[Case]) -> Start:
    """The cut-outs on the cases' backgrounds, as latents to be noised."""
    if material.background is None:
        raise ConfigError(f'the arm "{arm.name}" needs a picture of the background, and there is none')
    pictures = []
    for case in cases:
        things = [(place.cutouts[0], place.region) for place in _photos(material, arm, case)]
        pictures.append(pasted(material.background(case), things)[0])
    return Start(latents=material.model.encode(torch.stack(pictures) * 2 - 1), first_step=arm.first_step)
