"""The shipped toy model loads with stock classes, fits its budget and draws what it is told."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from cones2.assets import TOYWORLD
from cones2.evaluation.toyworld import captions, detector, places, world
from cones2.evaluation.toyworld.subjects import subject_pictures
from cones2.storage.images import open_photo

MEGABYTE = 1 << 20


def scenes(count: int, seed: int = 0) -> list[world.Scene]:
    rng = random.Random(seed)
    return [world.random_scene(rng) for _ in range(count)]


def test_rendering_depends_on_the_scene_alone() -> None:
    batch = scenes(6)
    pictures, owners = world.render(batch)
    alone, owner = world.render(batch[3:4])
    assert torch.allclose(pictures[3], alone[0], atol=1e-6)
    assert torch.equal(owners[3], owner[0])
    assert pictures.min() >= 0 and pictures.max() <= 1


def test_owner_map_covers_each_object_near_its_center() -> None:
    for scene, owner in zip(scenes(20), world.render(scenes(20))[1], strict=True):
        for index, thing in enumerate(scene.things):
            y, x = (owner == index + 1).nonzero().float().mean(0).tolist()
            assert abs(x - thing.x) < thing.side / 4
            assert abs(y - thing.y) < thing.side / 4


def test_objects_of_a_scene_hardly_overlap() -> None:
    for scene in scenes(400):
        for index, a in enumerate(scene.things):
            for b in scene.things[:index]:
                assert places.apart((a.x, a.y, a.side), (b.x, b.y, b.side)) > -world.CLOSE_OVERLAP


def test_scenes_have_none_to_six_objects_and_every_number_is_small_somewhere() -> None:
    smallest = dict.fromkeys(range(1, world.MOST + 1), 99.0)
    counts = set()
    for scene in scenes(2000):
        counts.add(len(scene.things))
        for thing in scene.things:
            assert places.SMALLEST_SIDE <= thing.side <= places.LARGEST_SIDE[len(scene.things)]
            smallest[len(scene.things)] = min(thing.side, smallest[len(scene.things)])
    assert counts == set(range(world.MOST + 1))
    assert all(side < places.SMALLEST_SIDE + 4 for side in smallest.values())


@pytest.mark.parametrize("count", range(1, 7))
def test_squares_stay_in_the_picture_apart_and_of_their_sides(count: int) -> None:
    for seed in range(150):
        rng = random.Random(seed)
        sides = places.random_sides(rng, count)
        squares = places.random_squares(rng, sides)
        assert len(squares) == count
        for x, y, side in squares:
            assert places.SMALLEST_SIDE <= side <= places.LARGEST_SIDE[count]
            assert side / 2 <= min(x, y) and max(x, y) <= world.SIZE - side / 2
        assert all(places.apart(a, b) > 0 for i, a in enumerate(squares) for b in squares[:i])


def test_six_objects_are_everywhere_not_in_a_grid() -> None:
    rng = random.Random(3)
    centers = [s[:2] for _ in range(300) for s in places.random_squares(rng, places.random_sides(rng, 6))]
    cells = {(int(x / world.SIZE * 6), int(y / world.SIZE * 6)) for x, y in centers}
    assert len(cells) == 36
    middle = sum(abs(x - 32) < 11 and abs(y - 32) < 11 for x, y in centers) / len(centers)
    assert middle > 0.06


def test_squares_that_cannot_fit_end_in_a_grid_after_bounded_work() -> None:
    class Counting(random.Random):
        calls = 0

        def random(self) -> float:
            self.calls += 1
            return super().random()

    rng = Counting(1)
    squares = places.random_squares(rng, [40.0] * 6)
    assert rng.calls <= 6 * places.ROUNDS * places.TRIES * 2 + 100
    assert all(places.apart(a, b) >= 0 for i, a in enumerate(squares) for b in squares[:i])


def test_a_scene_is_decided_by_its_seed() -> None:
    assert scenes(20, seed=4) == scenes(20, seed=4)
    assert scenes(20, seed=4) != scenes(20, seed=5)


def test_custom_subjects_never_occur_in_training_scenes() -> None:
    assert len(world.SUBJECTS) >= 6
    looks = {thing.look for scene in scenes(3000) for thing in scene.things}
    assert not looks & world.HELD_OUT
    assert not {look.sayable for look in looks} & set(world.SUBJECTS.values())


def test_badges_and_dots_change_the_picture_and_have_other_colors_than_the_body() -> None:
    for look in world.WORDLESS_SUBJECTS.values():
        assert look != look.sayable and len(look.colors) == sum(map(bool, vars(look).values())) - 1
        full, plain = (world.Scene("snow", 0.4, 0.0, (world.Thing(k, 32, 32, 24, 0),)) for k in (look, look.sayable))
        (a, b), owners = world.render([full, plain])
        changed = (a - b).abs().sum(0) > 0.3
        near = torch.nn.functional.max_pool2d(owners[:1].float(), 3, 1, 1)[0] > 0
        assert changed.sum() > 12 and not changed[~near].any()


def test_captions_name_every_object_and_nothing_else() -> None:
    rng = random.Random(1)
    for scene in scenes(400):
        words = captions.caption(scene, rng).replace(",", " ").split()
        assert sorted(w for w in words if w in world.CLASSES) == sorted(t.look.kind for t in scene.things)
        said = [(t.look.color, t.look.stripes) for t in scene.things]
        assert {w for w in words if w in world.COLORS} <= {color for pair in said for color in pair}


def test_a_scene_without_objects_is_captioned_by_its_background() -> None:
    rng = random.Random(1)
    empty = world.Scene("beach", 0.4, 0.0, ())
    texts = {captions.caption(empty, rng) for _ in range(100)}
    assert {"a photo of the beach", "a photo on the beach"} <= texts
    assert not world.render([empty])[1].any()


def test_rows_for_looks_without_words_add_up_and_are_nothing_for_sayable_looks() -> None:
    for look in world.SUBJECTS.values():
        assert not captions.wordless_rows(look, 128).any()
    both = captions.wordless_rows(world.Look("mug", "red", badge="blue", dots="white"), 128)
    parts = [world.Look("dog", "red", badge="blue"), world.Look("dog", "red", dots="white")]
    assert torch.allclose(both, sum(captions.wordless_rows(part, 128) for part in parts))


def test_shipped_files_fit_the_budget() -> None:
    assert sum(p.stat().st_size for p in TOYWORLD.rglob("*") if p.suffix == ".safetensors") <= 16 * MEGABYTE


def test_tokenizer_knows_every_caption_word_as_one_token() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(TOYWORLD / "tokenizer")
    rng = random.Random(2)
    for scene in scenes(50):
        text = captions.caption(scene, rng)
        pieces = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids[1:-1])
        assert "".join(pieces).replace("</w>", " ").split() == text.replace(",", " ,").replace("-", " - ").split()
        assert all(piece.endswith("</w>") for piece in pieces)


def test_loads_as_a_stable_diffusion_pipeline() -> None:
    diffusers = pytest.importorskip("diffusers")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(TOYWORLD, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    picture = pipe("a mug", height=64, width=64, num_inference_steps=2, generator=generator, output_type="pt").images
    assert picture.shape == (1, 3, 64, 64)
    assert torch.isfinite(picture).all()


def test_residuals_fit_the_text_encoder() -> None:
    from safetensors.torch import load_file

    paths = sorted((TOYWORLD / "residuals").glob("*.safetensors"))
    assert {p.stem for p in paths} == {p.name for p in (TOYWORLD / "subjects").iterdir()} >= set(world.SUBJECTS)
    for path in paths:
        assert load_file(path)["residual"].shape == (1, 128)


def test_subject_pictures_are_five_each_and_reproducible() -> None:
    for folder in (TOYWORLD / "subjects").iterdir():
        pixels = np.stack([np.asarray(open_photo(path)) for path in sorted(folder.glob("*.png"))])
        pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        assert pictures.shape == (5, 3, 64, 64)
        assert (pictures - subject_pictures(folder.name)).abs().max() <= 1 / 255


def test_detector_finds_rendered_objects() -> None:
    batch = scenes(48, seed=99)
    pictures, _ = world.render(batch)
    found = detector.detect(detector.load_detector(TOYWORLD / "detector.safetensors"), pictures)
    named = [(f, t.look) for s, f in zip(batch, found, strict=True) for t in s.things]
    assert sum(look.kind in f for f, look in named) / len(named) >= 0.95
    assert sum(look.kind in f and f[look.kind].look == look for f, look in named) / len(named) >= 0.8


def test_colors_are_voted_jointly() -> None:
    colors, other = torch.zeros(6), torch.zeros(6)
    colors[:2], other[:2] = torch.tensor([0.6, 0.4]), torch.tensor([0.55, 0.45])
    votes = {"color": colors, "second": other, "pattern": torch.tensor([0.1, 0.8, 0.1]), "badge": torch.eye(7)[0]}
    assert detector.voted_look("mug", votes) == world.Look("mug", world.COLORS[0], world.COLORS[1])
    dotted = votes | {"pattern": torch.tensor([0.1, 0.1, 0.8]), "badge": torch.eye(7)[3]}
    look = detector.voted_look("mug", dotted)
    assert (look.dots, look.stripes, look.badge) == (world.COLORS[1], None, world.COLORS[2])
    plain = votes | {"pattern": torch.tensor([0.8, 0.1, 0.1])}
    assert detector.voted_look("mug", plain) == world.Look("mug", world.COLORS[0])


def test_named_object_usually_appears() -> None:
    """A smoke test with a generous bound; MODEL_CARD.md has the measured figures."""
    pytest.importorskip("diffusers")
    from cones2.diffusers_models.loading import load_model
    from cones2.evaluation.toyworld.sampling import Recipe, sample

    model, judge = load_model(TOYWORLD), detector.load_detector(TOYWORLD / "detector.safetensors")
    hits = 0
    for kind in world.CLASSES:
        pictures = sample(model, f"a photo of a {kind} in the snow", range(2), Recipe(steps=12))
        hits += sum(kind in found for found in detector.detect(judge, pictures))
    assert hits >= 8  # of 16
