"""The recipe scenes: its pictures, the layout term while training, words as a start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torch import Tensor

from cones2.concepts.residual_file import load_residual, save_residual
from cones2.errors import CheckpointError, ConfigError, ModelError
from cones2.guidance.cross_attention import LayoutBias
from cones2.guidance.joint import JointLayoutBias
from cones2.guidance.weight_maps import weight_maps
from cones2.layout.regions import Box, layout_from_boxes
from cones2.training.captions import described_captions, scene_captions
from cones2.training.class_pictures import ClassPictures, remove_pictures
from cones2.training.comparison import attention_elsewhere, compare
from cones2.training.config import TrainingConfig, recipe_config
from cones2.training.loop import Trainer
from cones2.training.material import mixed
from cones2.training.methods import BasisMethod, DirectMethod, make_method, projection
from cones2.training.model import TrainingModel
from cones2.training.objective import denoising_error
from cones2.training.scenes import box_of, cutouts_of, paste_scenes
from cones2.training.session import prepare_run, result_residual
from cones2.training.views import Photo, ViewSettings
from tests.support.small_tokenizer import stream, tokenize
from tests.support.tiny_training import WIDTH, photo, tiny_model

VIEWS = ViewSettings(64, multiple=32)


def covered(seed: int = 0) -> Photo:
    """A picture of noise whose subject is a square in the middle."""
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((20, 16, 43, 47), fill=255)
    return photo(seed, mask=mask)


def scenes_config(**changes: Any) -> TrainingConfig:
    few = {"steps": 4, "batch_size": 2, "held_out": 4, "scenes": 4, "class_pictures": 4, "partners": "cat, hot dog"}
    return recipe_config("scenes", "mug", **{**few, "evaluate_every": 2, "checkpoint_every": 2, **changes})


def prepared(config: TrainingConfig | None = None, model: TrainingModel | None = None, **options: Any) -> Trainer:
    return prepare_run(model or tiny_model(), [covered(), covered(1)], VIEWS, config or scenes_config(), **options)


def test_the_term_in_training_is_the_term_at_sampling() -> None:
    trainer = prepared()
    model, ((_, batch),) = trainer.method.model, trainer._batches(0, 0)
    (joint,) = batch.terms
    assert isinstance(joint, JointLayoutBias)
    q, k = torch.randn(2, 3, 64, 8), torch.randn(2, 3, 77, 8)
    sigmas = model.noise.sigmas(batch.timesteps)
    together = joint.bias(q, k, (8, 8), model.noise.growth(sigmas))
    for entry, term in enumerate(joint.terms):
        own = term.bias(q[entry : entry + 1], k[entry : entry + 1], (8, 8), model.noise.growth(float(sigmas[entry])))
        assert torch.allclose(together[entry], own[0], rtol=1e-5)


def test_noise_levels_are_those_of_the_schedule() -> None:
    noise = tiny_model().noise
    schedule = noise.schedule(10)
    steps = torch.tensor([round(schedule.timestep(float(sigma))) for sigma in schedule.sigmas[:-1]])
    assert torch.allclose(noise.sigmas(steps).double(), schedule.sigmas[:-1].double(), rtol=1e-2)


def test_the_error_has_a_gradient_through_the_guided_attention() -> None:
    trainer = prepared()
    ((_, batch),) = trainer._batches(0, 0)
    vectors = torch.zeros(1, WIDTH, requires_grad=True)
    error, guided = denoising_error(trainer.method.model, batch, trainer.method.with_residual(vectors, batch.captions))
    error.backward()
    assert vectors.grad is not None and float(vectors.grad.abs().sum()) > 0
    plain = denoising_error(
        trainer.method.model, replace(batch, terms=()), trainer.method.frozen.select(batch.captions)
    )
    assert not torch.equal(guided, plain[1])


def test_the_error_counts_inside_the_subject_alone() -> None:
    ((_, batch),) = prepared()._batches(0, 0)
    assert batch.masks is not None
    assert 0 < float(batch.masks.mean()) < 0.6 and float(batch.masks.amax((1, 2, 3)).min()) > 0.5


def test_the_same_seed_pastes_the_same_scenes_and_another_one_others() -> None:
    model = tiny_model()
    pictures = ClassPictures(model, ("cat", "dog"), 2, (4, 8, 8), 0).make()
    cutouts = cutouts_of([covered()], 64)
    first, again = (paste_scenes(cutouts, pictures, 3, 0, "scene") for _ in range(2))
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0].pixels, paste_scenes(cutouts, pictures, 3, 1, "scene")[0].pixels)
    assert not torch.equal(first[0].pixels, paste_scenes(cutouts, pictures, 3, 0, "held-out scene")[0].pixels)


def test_a_scene_shows_the_subject_in_its_region_and_the_rest_of_the_picture_untouched() -> None:
    (picture,) = ClassPictures(tiny_model(), ("cat",), 1, (4, 8, 8), 0).make()
    red = replace(covered(), picture=Image.new("RGB", (64, 64), (255, 0, 0)))
    for scene in paste_scenes(cutouts_of([red], 64), [picture], 6, 0, "scene"):
        assert scene.region is not None and scene.partner == "cat"
        changed = (scene.pixels != picture.pixels).any(0)
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        assert scene.region.y * 64 <= int(rows[0]) and int(rows[-1]) < (scene.region.y + scene.region.height) * 64
        assert scene.region.x * 64 <= int(columns[0]) and int(columns[-1]) < (scene.region.x + scene.region.width) * 64
        middle = (int(rows[0]) + int(rows[-1])) // 2, (int(columns[0]) + int(columns[-1])) // 2
        assert scene.pixels[:, middle[0], middle[1]].tolist() == pytest.approx([1.0, -1.0, -1.0])


@given(st.integers(0, 1000), st.integers(0, 15))
def test_class_pictures_leave_room_at_one_side(seed: int, index: int) -> None:
    region = ClassPictures(tiny_model(), ("cat",), 16, (4, 8, 8), seed).region(index)
    assert region.x >= 0 and region.y >= 0 and region.x + region.width <= 1 and region.y + region.height <= 1
    assert max(region.x, region.y, 1 - region.x - region.width, 1 - region.y - region.height) >= 0.44


def test_class_pictures_are_found_again(tmp_path: Path) -> None:
    made: list[int] = []
    first = ClassPictures(tiny_model(), ("cat",), 2, (4, 8, 8), 0, tmp_path).make(lambda index, _: made.append(index))
    broken = replace(tiny_model(), predict=lambda *_: pytest.fail("made a second time"))
    second = ClassPictures(broken, ("cat",), 2, (4, 8, 8), 0, tmp_path).make()
    assert made == [0, 1] and all(torch.equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))


def test_a_model_without_a_decoder_says_which_recipe_it_can_learn() -> None:
    with pytest.raises(ModelError, match="take the recipe photos"):
        prepared(model=replace(tiny_model(), decode_latents=None))


def test_scenes_and_photos_have_their_shares() -> None:
    photos: list[Any] = ["photo"] * 5
    scenes: list[Any] = ["scene"] * 40
    assert mixed(photos, scenes, 0.5).count("photo") == 40
    assert mixed(photos, scenes, 1.0).count("photo") == 0
    assert mixed(photos, scenes, 0.0) == photos


def test_photos_without_masks_are_named_and_learned_as_a_whole(caplog: pytest.LogCaptureFixture) -> None:
    trainer = prepare_run(tiny_model(), [photo()], VIEWS, scenes_config())
    assert "no mask of 0.png" in caplog.text
    assert trainer.run().steps == 4


def test_masks_that_say_nothing_clearly_are_an_error() -> None:
    gray = replace(covered(), mask=Image.new("L", (64, 64), 90))
    with pytest.raises(ConfigError, match="no mask says clearly"):
        prepare_run(tiny_model(), [gray], VIEWS, scenes_config())


def test_transparency_is_a_mask() -> None:
    mask = covered().mask
    assert mask is not None
    clear = replace(covered(), mask=None, opacity=mask)
    (cutout,), (same,) = cutouts_of([clear], 64), cutouts_of([covered()], 64)
    assert torch.equal(cutout.rgba, same.rgba) and (cutout.height, cutout.width) == (32, 24)


def test_the_box_of_a_mask_has_a_little_around_it() -> None:
    mask = torch.zeros(64, 64)
    mask[16:48, 20:44] = 1
    assert box_of(mask) == pytest.approx(Box(19 / 64, 15 / 64, 26 / 64, 34 / 64))
    assert box_of(torch.zeros(64, 64)) == Box(0, 0, 1, 1)


def test_scene_captions_know_both_things() -> None:
    for caption in scene_captions("mug", "hot dog", stream, tokenize):
        words = {token.index: token.piece.id for token in stream(caption.text).tokens}
        assert [words[index] for index in caption.span] == [piece.id for piece in tokenize("mug")]
        assert [words[index] for index in caption.other] == [piece.id for piece in tokenize("hot dog")]
    assert len({caption.text for caption in scene_captions("mug", "cat", stream, tokenize)}) == 9


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    whole = prepared().run()
    options = {"checkpoint": tmp_path / "run.pt", "pictures": tmp_path / "pictures"}
    stopped = prepared(**options)
    calls = iter([False, False, True])
    assert stopped.run(interrupted=lambda: next(calls)).reason == "interrupted"
    resumed = prepared(**options)
    assert resumed.step == 2
    assert torch.equal(resumed.run().residual, whole.residual)


def test_a_checkpoint_of_photos_is_not_continued_with_scenes(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    prepared(recipe_config("photos", "mug", steps=2, batch_size=2, held_out=4), checkpoint=path).save()
    with pytest.raises(CheckpointError, match="guided"):
        prepared(checkpoint=path)


def test_a_checkpoint_from_before_a_setting_was_there_is_continued(tmp_path: Path) -> None:
    path, config = tmp_path / "run.pt", recipe_config("photos", "mug", steps=2, batch_size=2, held_out=4)
    prepared(config, checkpoint=path).save()
    state = torch.load(path)
    for name in ("guided", "scenes", "description", "basis"):
        del state["numbers"][name]
    torch.save(state, path)
    assert prepared(config, checkpoint=path).step == 0


def test_the_photos_recipe_neither_guides_nor_makes_pictures() -> None:
    model = replace(tiny_model(), decode_latents=None)
    trainer = prepared(recipe_config("photos", "mug", steps=2, batch_size=2, held_out=4), model)
    assert all(not batch.terms for _, batch in trainer._batches(0, 0))


@pytest.mark.parametrize("description", ["red hot mug", "a red hot mug", "red hot", "red hot Mug with a handle"])
def test_a_description_starts_at_the_difference_of_the_rows(description: str) -> None:
    model = tiny_model()
    method = make_method(model, scenes_config(description=description))
    told, plain = "a photo of a red hot mug", "a photo of a mug"
    shifts = []
    for template in (one.text for one in (method.captions[index] for index in method.book.choices[""])):
        rows = [model.encode_text([text]).embeds[0] for text in (template.replace("mug", "red hot mug"), template)]
        shifts.append(rows[0][len(stream(template).tokens) + 2] - rows[1][len(stream(template).tokens)])
    assert told != plain and torch.allclose(method.residual()[0], torch.stack(shifts).mean(0), atol=1e-5)


def test_a_description_that_says_nothing_before_the_subject_is_refused() -> None:
    with pytest.raises(ConfigError, match='says nothing before "mug"'):
        described_captions("mug", "a mug of coffee", stream, tokenize)


def test_the_basis_holds_its_start_and_learns_within_its_directions() -> None:
    config = scenes_config(basis=3, steps=3)
    method = make_method(tiny_model(), config)
    assert isinstance(method, BasisMethod)
    directions = method.directions
    assert isinstance(directions, Tensor) and directions.shape == (4, 1, WIDTH)
    assert torch.allclose(method.residual(), directions[0], atol=1e-6)
    learned = prepared(config).run().residual
    basis = directions.flatten(1)
    inside = torch.linalg.lstsq(basis.T, learned.T).solution
    assert torch.allclose((basis.T @ inside).T, learned, atol=1e-4)


def test_the_projection_is_the_nearest_point() -> None:
    directions = torch.eye(5)[:2, None] * torch.tensor([2.0, 3.0])[:, None, None]
    assert projection(torch.arange(1.0, 6.0)[None], directions).tolist() == pytest.approx([0.5, 2 / 3])


def test_what_training_was_worth_is_in_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = prepared(scenes_config(description="red mug", steps=1, learning_rate=1e-7))
    residual = result_residual(trainer, trainer.run(), [covered(), covered(1)], "tiny")
    metadata = load_residual(save_residual(residual, tmp_path / "mug")).metadata
    assert metadata["recipe"] == "scenes" and metadata["description"] == "red mug"
    assert float(metadata["scenes_error_description"]) >= float(metadata["scenes_error_residual"])
    assert 0 <= float(metadata["attention_elsewhere_residual"]) <= 1
    assert len(residual.cutouts) == 2


def test_training_that_has_not_helped_says_so(caplog: pytest.LogCaptureFixture) -> None:
    trainer = prepared()
    result = replace(trainer.run(), residual=torch.zeros(1, WIDTH))
    result_residual(trainer, result, [covered()], "tiny")
    assert "the training found nothing better than" in caplog.text


def test_the_share_of_attention_elsewhere_counts_the_other_thing() -> None:
    trainer = prepared()
    method, (_, batch) = trainer.method, trainer.held_out[0]
    assert isinstance(method, DirectMethod)
    layout = layout_from_boxes([Box(0, 0, 0.5, 1), Box(0, 0, 1, 1)], ["mug", "all"], 8, 8, "fractions")
    (joint,) = batch.terms
    assert isinstance(joint, JointLayoutBias)
    everywhere = [LayoutBias(weight_maps(layout, [[(4,)], [(7,)]])) for _ in joint.terms]
    full = replace(batch, terms=(JointLayoutBias(everywhere),))
    assert attention_elsewhere(method, full, torch.zeros(1, WIDTH)) == pytest.approx([1.0] * len(joint.terms))
    assert compare(prepared(scenes_config(scenes=0)), torch.zeros(1, WIDTH)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: recipe_config("paper", "dog", guided=True), "as published"),
        (lambda: recipe_config("photos", "dog", scenes=3), "under the layout term"),
        (lambda: recipe_config("scenes", "dog", partners="Dog, big dog"), 'nothing but "dog"'),
        (lambda: recipe_config("scenes", "dog", scene_share=1.5), "scene_share"),
        (lambda: recipe_config("scene", "dog"), "there are: scenes, photos, paper"),
    ],
)
def test_recipes_that_cannot_be_are_refused(change: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change()


def test_a_recipe_knows_its_name() -> None:
    assert [recipe_config(name, "dog").recipe for name in ("scenes", "photos", "paper")] == [
        "scenes",
        "photos",
        "paper",
    ]


def test_only_class_pictures_are_removed(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"")
    (tmp_path / "0_001_0123abcd.png").write_bytes(b"")
    remove_pictures(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]


def test_a_share_of_scenes_too_small_to_mix_is_refused() -> None:
    with pytest.raises(ConfigError, match="scene_share is 1e-06"):
        scenes_config(scene_share=1e-6)
