"""What a run learns from and is validated on: photos, or photos and scenes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ..concepts.cutout import MAX_SIDE
from ..errors import ConfigError
from ..messages import listed, shown
from .batches import LatentView, encode_views
from .class_pictures import ClassPicture
from .config import TrainingConfig
from .model import TrainingModel
from .scenes import cutouts_of, guided_views, paste_scenes
from .views import Photo, View, ViewSettings, make_views

log = logging.getLogger(__name__)

_HELD_OUT_SHARE = 4  # one class picture in so many is for validation alone
_HELD_OUT_SCENES = 16


@dataclass(frozen=True, eq=False)
class Material:
    """Encoded pictures.

    views: to learn from; a picture may be there several times. held_out: of the validation.
    scenes: those of both that are not photos, once each.
    """

    views: Sequence[LatentView]
    held_out: Sequence[LatentView]
    scenes: Sequence[LatentView] = ()


def photo_views(photos: Sequence[Photo], views: ViewSettings, config: TrainingConfig) -> list[View]:
    """The photos' views; under the layout term with regions, and with the masks that the files' transparency says.

    Raises ConfigError when none is usable.
    """
    if not config.guided:
        return make_views(photos, views)
    unmasked = [shown(photo.name) for photo in photos if photo.cover is None]
    if unmasked:
        log.warning(
            "no mask of %s: the whole picture counts as the subject; give masks, or pictures with transparency",
            listed(unmasked),
        )
    covered = [Photo(photo.name, photo.picture, photo.cover) for photo in photos]
    return guided_views(make_views(covered, views))


def with_scenes(
    model: TrainingModel,
    latents: Sequence[LatentView],
    photos: Sequence[Photo],
    pictures: Sequence[ClassPicture],
    config: TrainingConfig,
) -> Material:
    """The photos and scenes pasted of them and of class pictures, as many of each as the recipe has shares.

    The scenes of the validation have class pictures of their own. Raises ConfigError when no photo gives a cut-out.
    """
    kept = max(1, len(pictures) // _HELD_OUT_SHARE)
    learned, unseen = (pictures[:-kept], pictures[-kept:]) if len(pictures) > 1 else (pictures, pictures)
    cutouts = cutouts_of(photos, min(pictures[0].pixels.shape[-1], MAX_SIDE), whole=True)
    if not cutouts:
        raise ConfigError("no photo can be pasted into scenes: no mask says clearly where the subject is")
    scenes = encode_views(model, paste_scenes(cutouts, learned, config.scenes, config.seed, "scene"))
    held_out = encode_views(model, paste_scenes(cutouts, unseen, _HELD_OUT_SCENES, config.seed, "held-out scene"))
    return Material(mixed(latents, scenes, config.scene_share), held_out, [*scenes, *held_out])


def mixed(photos: Sequence[LatentView], scenes: Sequence[LatentView], share: float) -> list[LatentView]:
    """Photos and scenes so often that scenes are about this share of all; a share of 1 leaves the photos out."""
    if share == 0:
        return list(photos)
    repeats = round(len(scenes) * (1 - share) / share / len(photos))
    return [*(list(photos) * max(repeats, 0 if share == 1 else 1)), *scenes]
