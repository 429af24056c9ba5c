"""The miniature transformer: its sequence, its batches, its attention."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from cones2.assets import TOYWORLD
from cones2.evaluation.toyworld import world
from cones2.evaluation.toyworld.references import known_looks, reference_pictures, reference_thing
from cones2.evaluation.toyworld.suites import toy_suite

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tools.toyworld import dit, flow, joint, steering
from tools.toyworld.pool import LATENT_SIDE, class_masks
from tools.toyworld.run import Options

PROMPTS = ("a photo of a mug", "a photo of a red mug and a dog in the snow")


def network() -> dit.QwenImageTransformer2DModel:
    """With weights that say something: a fresh one answers 0."""
    torch.manual_seed(0)
    made = dit.new_dit()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.eval().requires_grad_(False)


def inputs(references: int, size: int = 2) -> dict[str, object]:
    generator = torch.Generator().manual_seed(1)
    valid = torch.arange(9) < torch.tensor([[9], [6]])
    return {
        "noisy": torch.randn(size, 4, 16, 16, generator=generator),
        "level": torch.tensor([0.2, 0.9]),
        "context": torch.randn(size, 9, 128, generator=generator),
        "valid": valid,
        "references": [torch.randn(size, 4, 8, 8, generator=generator) for _ in range(references)],
    }


def test_every_look_of_a_scene_is_a_known_look() -> None:
    rng, looks = random.Random(3), set(known_looks())
    assert all(thing.look in looks for _ in range(500) for thing in world.random_scene(rng).things)


def test_no_custom_subject_is_a_known_look() -> None:
    assert not world.HELD_OUT & set(known_looks())


def test_a_reference_lies_inside_its_picture_on_one_color() -> None:
    rng = random.Random(0)
    looks = rng.sample(list(known_looks()), 8)
    pictures = reference_pictures(rng, looks)
    assert pictures.shape == (8, 3, 32, 32)
    corners = torch.stack([pictures[..., y, x] for y in (0, -1) for x in (0, -1)])
    assert (corners == corners[0]).all()
    for look in looks:
        thing = reference_thing(rng, look)
        assert thing.side / 2 < min(thing.x, thing.y) and max(thing.x, thing.y) < 32 - thing.side / 2


def test_unpacking_undoes_packing() -> None:
    latents = torch.randn(2, 4, 16, 8)
    assert torch.equal(flow.unpacked(flow.packed(latents), 16, 8), latents)


def test_the_schedule_is_that_of_diffusers() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=flow.SHIFT)
    shares = torch.arange(1000, 0, -1) / 1000
    assert torch.allclose(scheduler.sigmas, flow.shifted(shares), atol=1e-6)


@pytest.mark.parametrize("references", [0, 1, 2])
def test_the_written_out_attention_is_that_of_diffusers(references: int) -> None:
    made, given = network(), inputs(references)
    plain = flow.velocity(made, **given)
    joint.attach(made)
    assert (flow.velocity(made, **given) - plain).abs().max() < 1e-4 * plain.abs().max()


def test_rows_that_pad_a_prompt_change_nothing() -> None:
    made, given = network(), inputs(0)
    joint.attach(made)
    batched = flow.velocity(made, **given)[1:]
    alone = flow.velocity(
        made, given["noisy"][1:], given["level"][1:], given["context"][1:, :6], given["valid"][1:, :6]
    )
    assert torch.allclose(batched, alone, atol=1e-4)


def test_a_fresh_network_guesses_nothing() -> None:
    assert not flow.velocity(dit.new_dit(), **inputs(1)).any()


def test_the_network_is_small_enough_to_ship() -> None:
    assert sum(p.numel() for p in dit.new_dit().parameters()) <= 6_000_000


def test_attention_maps_are_kept_of_nouns_and_whole_references() -> None:
    made, given = network(), inputs(2)
    processor = joint.attach(made)
    processor.listen(torch.tensor([[2, 4], [1, 3]]), dit.CELLS, (16, 16))
    flow.velocity(made, **given)
    assert processor.kept is not None and len(processor.kept) == dit.NETWORK["num_layers"]
    assert {m.shape for m in processor.kept} == {(2, 4, dit.CELLS)}
    assert all((m.sum(1) <= 1.0001).all() for m in processor.kept)


def test_a_steered_word_and_reference_are_read_inside_their_region_only() -> None:
    made, given = network(), inputs(2)
    processor = joint.attach(made)
    weights = steering.region_weights(toy_suite(2, "boxes", 2, 5).cases, 8)
    words = torch.tensor([[2, 4], [1, 3]])
    processor.listen(words, dit.CELLS, (16, 16))
    processor.term = steering.Steering(weights, given["level"], given["valid"], words, (16, 16))
    flow.velocity(made, **given)
    inside = (weights > 0).transpose(1, 2).repeat(1, 2, 1)  # words, then references
    for maps in processor.kept or ():
        assert maps[~inside].max() < 1e-3 * maps[inside].mean()


def test_the_rows_of_a_prompt_end_with_its_first_end_token() -> None:
    ids = torch.tensor([[659, 5, 6, 660, 660], [659, 660, 660, 660, 660]])
    assert dit.prompt_rows(ids, 660).tolist() == [[True] * 4 + [False], [True] * 2 + [False] * 3]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with one shard of scenes and pictures whose latents are made up."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("tokenizer", "text_encoder"):
        (folder / name).symlink_to(TOYWORLD / name)
    scenes = [world.random_scene(rng) for rng in [random.Random(1)] for _ in range(1024)]
    masks = torch.cat([class_masks(scenes[i : i + 64], world.render(scenes[i : i + 64])[1]) for i in (0, 64)])
    masks = torch.cat([masks, masks.new_zeros(1024 - len(masks), *masks.shape[1:])])
    (folder / "pool").mkdir()
    latents = torch.randn(1024, 4, LATENT_SIDE, LATENT_SIDE, generator=torch.Generator().manual_seed(0)).half()
    torch.save({"seed": 1, "latents": latents, "masks": masks}, folder / "pool" / "000001.pt")
    (folder / "references").mkdir()
    numbers = torch.arange(len(list(known_looks()))).view(-1, 1, 1, 1).expand(-1, 4, 8, 8)
    torch.save(numbers.float(), folder / "references" / "000001.pt")
    return folder


def test_references_are_of_different_objects_and_come_with_their_masks(work: Path) -> None:
    batches, looks = dit.Batches(Options(work, 1, 6, 1e-3)), list(known_looks())
    seen = set()
    for step in range(12):
        batch = batches.draw(step)
        count = batch["references"].shape[1]
        seen.add(count)
        assert batch["there"].shape == batch["masks"].shape[:2] == (6, world.MOST + count)
        assert batch["there"][:, world.MOST :].all()
        kinds = [{looks[int(latents[0, 0, 0])].kind for latents in row} for row in batch["references"]]
        assert all(len(row) == count for row in kinds)
        for row, named in enumerate(batch["there"][:, : world.MOST]):
            of_nouns = batch["masks"][row, : world.MOST][named]
            for mask in batch["masks"][row, world.MOST :] if named.any() else ():
                assert (of_nouns == mask).flatten(1).all(1).any()
    assert seen == {0, 1, 2}


def test_the_target_leads_from_the_picture_to_the_noise(work: Path) -> None:
    batches = dit.Batches(Options(work, 1, 6, 1e-3))
    batch = batches.draw(3)
    level = batch["level"].view(-1, 1, 1, 1)
    clean = batch["noisy"] - level * batch["target"]
    known = batches.pool.latents.float()
    assert all((known - one).abs().flatten(1).amax(1).min() < 1e-4 for one in clean)


def test_bfloat16_leaves_the_noise_level_exact(work: Path) -> None:
    options = Options(work, 1, 4, 1e-3, bfloat16=True)
    network, seen = dit.new_dit(), []
    forward = dit.recorded_forward(network, options)
    network.time_text_embed.time_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = dit.Batches(options).draw(0)
    forward(batch)
    assert torch.equal(seen[0], batch["level"])


def test_a_batch_follows_from_its_step(work: Path) -> None:
    first, second = (dit.Batches(Options(work, 1, 4, 1e-3)).draw(7) for _ in range(2))
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_step_of_training_changes_the_network_and_can_be_resumed(work: Path) -> None:
    options = Options(work, 2, 4, 1e-3)
    dit.train(options)
    state = torch.load(work / "dit.pt", weights_only=True)
    assert state["step"] == 2
    assert dit.new_dit(work / "transformer").proj_out.weight.any()
    dit.train(Options(work, 3, 4, 1e-3))
    assert torch.load(work / "dit.pt", weights_only=True)["step"] == 3
