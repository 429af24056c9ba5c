"""The toy world's custom subjects as benchmark subjects: photos, unseen pictures, and a judge of fidelity."""

from __future__ import annotations

import random
from collections.abc import Callable

from torch import Tensor

from cones2.assets import TOYWORLD
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.cases import Subject
from cones2.evaluation.scores import Verdict, scores
from cones2.evaluation.toyworld.captions import PLACE
from cones2.evaluation.toyworld.detector import detect, load_detector
from cones2.evaluation.toyworld.judging import verdict
from cones2.evaluation.toyworld.sampling import Recipe, sample
from cones2.evaluation.toyworld.world import BACKGROUNDS, SUBJECTS, Look, photo_scene, render
from cones2.training.views import Photo, load_photos, photos_from_pixels

UNSEEN = 24
PICTURES = 24  # judged per residual; 24 pictures tell shares 0.35 apart
RECIPE = Recipe(steps=12)


def toy_model() -> DiffusersModel:
    """The shipped model."""
    return load_model(TOYWORLD, device="cpu")


def phrase(name: str) -> str:
    """The word of a subject."""
    return _look(name).kind


def photos(name: str) -> list[Photo]:
    """The five pictures a subject is learned from."""
    _look(name)
    return load_photos(TOYWORLD / "subjects" / name)


def unseen(name: str) -> list[Photo]:
    """Pictures of the subject that no training uses."""
    rng = random.Random(f"unseen {name}")
    scenes = [photo_scene(rng, _look(name), BACKGROUNDS[index % len(BACKGROUNDS)]) for index in range(UNSEEN)]
    return photos_from_pixels(render(scenes)[0].permute(0, 2, 3, 1))


def fidelity(model: DiffusersModel, name: str) -> Callable[[Tensor], float]:
    """residual [1, d] → share of sampled pictures whose object has both colors of the subject."""
    look, detector = _look(name), load_detector(TOYWORLD / "detector.safetensors")

    def judge(residual: Tensor) -> float:
        judged: list[Verdict] = []
        per_place = PICTURES // len(PLACE)
        for index, place in enumerate(PLACE.values()):
            seeds = range(7000 + index * per_place, 7000 + (index + 1) * per_place)
            pictures = sample(model, f"a photo of a {look.kind} {place}", seeds, RECIPE, {look.kind: residual[0]})
            judged += [verdict(sight, [Subject(look.kind, name)]) for sight in detect(detector, pictures)]
        return scores(judged).own.value

    return judge


def _look(name: str) -> Look:
    if name not in SUBJECTS:
        raise SystemExit(f'there is no toy subject "{name}"; there are: {", ".join(SUBJECTS)}')
    return SUBJECTS[name]
