"""Sampling a scene from its subjects' photos."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cones2.concepts.cutout import CutOut
from cones2.concepts.residual import Residual, make_residual
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.errors import Cones2Error
from cones2.layout.regions import Box, layout_from_boxes
from cones2.sampling.settings import SamplingSettings
from cones2.sampling.start import SD_SIGMA_MAX
from cones2.scene import Scene, compose, start_of
from tests.support.tiny_diffusers import WIDTH, tiny_model

SETTINGS = SamplingSettings(steps=3, guided_steps=2, seeds=(7,), height=32, width=48)
RED, GREEN = (CutOut(torch.tensor(c)[:, None, None].expand(4, 8, 8).clone()) for c in ([1.0, 0, 0, 1], [0, 1.0, 0, 1]))


@pytest.fixture(scope="module")
def model() -> DiffusersModel:
    return tiny_model("v_prediction")


def dog(*cutouts: CutOut) -> Residual:
    vectors = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))
    return make_residual("dog", vectors).with_cutouts(cutouts)


def scene_of(model: DiffusersModel, *residuals: Residual) -> Scene:
    boxes = [Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 0.5, 1.0)]
    layout = layout_from_boxes(boxes, ["mug", "dog"], 32, 48, unit="fractions")
    return compose(model, "a mug and a dog on the beach", residuals, layout)


def test_cut_outs_change_nothing_until_they_are_asked_for(model: DiffusersModel) -> None:
    with_cutouts, without = scene_of(model, dog(RED)), scene_of(model, dog())
    assert torch.equal(model.sample(with_cutouts, SETTINGS), model.sample(without, SETTINGS))
    shifted = model.sample(with_cutouts, replace(SETTINGS, photo_start=8.0))
    assert (shifted - model.sample(without, SETTINGS)).abs().max() > 1e-3


def test_the_shift_is_the_photo_s_latents_in_its_own_region_and_nothing_elsewhere(model: DiffusersModel) -> None:
    scene = scene_of(model, dog(RED))
    shift = start_of(model, scene, replace(SETTINGS, photo_start=4.0)).shift
    assert shift is not None and shift.shape == (1, 4, 16, 24)  # cells of 2 x 2 pixels
    assert shift[..., :12].abs().max() == 0 and shift[:, :, 4:12, 14:22].abs().min() > 0
    gray = torch.full((1, 3, 32, 48), 0.5)
    gray[0, :, 4:28, 24:48] = torch.tensor([1.0, 0, 0])[:, None, None]  # 24 of 32 rows, in the middle
    expected = 4 / SD_SIGMA_MAX * model.encode(gray * 2 - 1)
    assert torch.allclose(shift[:, :, 2:14, 12:], expected[:, :, 2:14, 12:], atol=1e-5)


def test_each_picture_of_a_batch_has_another_photo_and_is_what_it_is_alone(model: DiffusersModel) -> None:
    scene = scene_of(model, dog(RED, GREEN))
    settings = replace(SETTINGS, photo_start=8.0, seeds=(4, 5))
    shift = start_of(model, scene, settings).shift
    assert shift is not None and not torch.equal(shift[0], shift[1])
    together = model.sample(scene, settings)
    for index, seed in enumerate(settings.seeds):
        alone = model.sample(scene, replace(settings, seeds=(seed,)))[0]
        assert (together[index] - alone).abs().max() < 1e-3 * float(alone.abs().max())


def test_a_start_without_photos_is_one_sentence(model: DiffusersModel) -> None:
    with pytest.raises(Cones2Error, match="photo_start needs a cut-out of a photo and a region"):
        model.sample(scene_of(model, dog()), replace(SETTINGS, photo_start=8.0))
