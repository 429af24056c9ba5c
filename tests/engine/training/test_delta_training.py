"""Custom Diffusion's training: what learns, what the loss is, that a run goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cones2.custom_diffusion.layers import is_key_or_value
from cones2.diffusers_models.for_delta_training import delta_training_model, start_rows
from cones2.errors import CheckpointError, Cones2Error, ConfigError
from cones2.training import memory
from cones2.training.augmentation import Draw, augmented, draw_augmentation
from cones2.training.concept_batches import ConceptBatches
from cones2.training.concepts import ClassPhoto, TrainingConcept, class_words, load_class_photos, tokens_in
from cones2.training.config import delta_config
from cones2.training.delta_method import ConceptBatch, DeltaMethod
from cones2.training.delta_session import check_before_pictures, prepare_delta_run
from cones2.training.draws import keyed_generator
from cones2.training.views import Photo
from tests.support.tiny_diffusers import tiny_model

SIZE = 32


def photo(seed: int) -> Photo:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    return Photo(f"photo {seed}", Image.fromarray(pixels))


def concept(token: str = "<new1>", seed: int = 0, classes: int = 2) -> TrainingConcept:
    pictures = [ClassPhoto(photo(100 + index), "dog") for index in range(classes)]
    return TrainingConcept(f"a {token} dog", "dog", [photo(seed), photo(seed + 1)], pictures)


def run(concepts=None, checkpoint: Path | None = None, attention="keys and values", **changes):
    base = tiny_model()
    concepts = [concept()] if concepts is None else concepts
    names = tokens_in([each.prompt for each in concepts])
    settings = {"steps": 3, "learning_rate": 1e-3, "checkpoint_every": 1, "tokens": "+".join(names), **changes}
    config = delta_config("dog", attention=attention, **settings)
    rows = [torch.nn.Parameter(torch.randn(len(names), 16, generator=torch.Generator().manual_seed(7)))]
    networks = delta_training_model(base, names, rows, attention)
    return prepare_delta_run(networks, concepts, config, SIZE, checkpoint=checkpoint), base


def moved(result) -> dict[str, float]:
    method = result.method
    return dict(zip([*method.names, "rows"], method.residual().tolist(), strict=True))


def test_pictures_encoded_ahead_are_the_same() -> None:
    prepared, _ = run(accumulation=2)
    batches = [
        ConceptBatches(prepared.method.model, prepared.concepts, prepared.trainer.config, SIZE, ahead=ahead)
        for ahead in (1, 2)
    ]
    for step, micro in ((0, 0), (0, 1), (1, 0), (2, 1)):
        (_, one), (_, other) = (each(step, micro)[0] for each in batches)
        assert torch.equal(one.latents, other.latents) and one.prompts == other.prompts


@pytest.mark.parametrize("attention", ["keys and values", "all"])
def test_the_chosen_weights_and_the_tokens_learn(attention: str) -> None:
    prepared, _ = run(attention=attention)
    prepared.trainer.run()
    names = moved(prepared)
    assert all(names.values())
    assert all(map(is_key_or_value, set(names) - {"rows"})) == (attention == "keys and values")


def test_the_model_is_left_as_it_is() -> None:
    prepared, base = run()
    before = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    prepared.trainer.run()
    assert all(torch.equal(weight, before[name]) for name, weight in base.unet.state_dict().items())
    assert not base.text.modifiers


def test_every_token_learns_in_a_joint_training() -> None:
    prepared, _ = run([concept("<new1>"), concept("<new2>", 10)], batch_size=4)
    start = prepared.method.rows[0].detach().clone()
    prepared.trainer.run()
    assert all((prepared.method.rows[0].detach() - start).norm(dim=1) > 1e-5)


def test_the_published_rule_stops_the_last_token_but_for_decay() -> None:
    prepared, _ = run([concept("<new1>"), concept("<new2>", 10)], batch_size=4)
    method = DeltaMethod(prepared.method.model, prepared.trainer.config, published_tokens=True)
    ((_, batch),) = prepared.trainer._batches(0, 0)
    with torch.enable_grad():
        method(batch)[0].backward()
    assert not method.rows[0].grad[-1].any() and method.rows[0].grad[0].any()


def test_the_start_token_gives_keys_and_values_no_gradient() -> None:
    prepared, _ = run()
    layer = next(
        module
        for module in prepared.method.model.predict._model.unet.modules()
        if type(module).__name__ == "StartStopped"
    )
    text = torch.randn(1, 5, 16)
    with torch.enable_grad():
        layer(text)[:, :1].sum().backward() if layer(text)[:, :1].requires_grad else None
        assert layer.weight.grad is None or not layer.weight.grad.any()
        layer(text).sum().backward()
    assert torch.allclose(layer.weight.grad, text[0, 1:].sum(0).expand_as(layer.weight), atol=1e-5)


def test_the_loss_sums_channels_and_divides_by_the_mask() -> None:
    prepared, _ = run()
    ((_, batch),) = prepared.trainer._batches(0, 0)
    masks = torch.zeros_like(batch.masks)
    masks[:, :, :2] = 1
    batch = ConceptBatch(batch.latents, batch.noise, batch.timesteps, batch.prompts, masks, batch.time_ids)
    with torch.no_grad():
        _, terms = prepared.method(batch)
        model = prepared.method.model
        noisy = model.noise.noisy(batch.latents, batch.noise, batch.timesteps)
        target = model.noise.target(batch.latents, batch.noise, batch.timesteps)
        squared = (model.predict(noisy, batch.timesteps, model.encode_text(batch.prompts), None) - target).square()
    photos = len(masks)
    inside = (squared[:photos] * masks).sum((1, 2, 3)) / masks.sum((1, 2, 3))
    assert float(terms["error"]) == pytest.approx(float(inside.mean()), rel=1e-5)
    assert float(terms["prior"]) == pytest.approx(float(squared[photos:].mean()), rel=1e-5)


def test_an_interrupted_run_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    whole, _ = run()
    whole.trainer.run()
    first, _ = run(checkpoint=tmp_path / "c.pt")
    seen: list[object] = []
    first.trainer.run(seen.append, lambda: len(seen) == 1)
    second, _ = run(checkpoint=tmp_path / "c.pt")
    assert second.trainer.step == 1
    second.trainer.run()
    ours, theirs = (each.method.delta() for each in (second, whole))
    assert all(
        torch.equal(change.parts()["whole"], theirs.weights[name].parts()["whole"])
        for name, change in ours.weights.items()
    )


def test_a_checkpoint_of_other_photos_is_refused(tmp_path: Path) -> None:
    first, _ = run(checkpoint=tmp_path / "c.pt")
    first.trainer.run()
    with pytest.raises(CheckpointError, match="other photos"):
        run([concept(seed=50)], checkpoint=tmp_path / "c.pt")


def test_training_without_class_pictures_has_no_prior() -> None:
    prepared, _ = run([concept(classes=0)])
    assert "prior" not in prepared.trainer.run().history[0]


def test_the_result_says_what_it_was_trained_on() -> None:
    prepared, _ = run()
    delta = prepared.result(prepared.trainer.run(), "sd14", 1)
    assert delta.tokens[0].class_word == "dog" and delta.metadata["class_pictures"] == "2"


@pytest.mark.parametrize(
    ("concepts", "changes", "sentence"),
    [
        ([], {}, "no concept"),
        ([concept("the")], {"tokens": "<new1>"}, "no prompt names <new1>"),
        ([concept("<new1>"), concept("<new2>", 5)], {"tokens": "<new1>"}, "which no token is called"),
        ([concept("<new1>"), concept("<new2>", 5, 0)], {}, "has no pictures of its class"),
    ],
)
def test_what_cannot_be_trained_is_said(concepts: list[TrainingConcept], changes: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(concepts, **changes)


def test_captions_are_those_of_their_own_pictures() -> None:
    prepared, _ = run(batch_size=2)
    ((_, batch),) = ConceptBatches(prepared.method.model, prepared.concepts, prepared.trainer.config, SIZE)(0, 0)
    assert all("<new1>" in prompt for prompt in batch.prompts[:2]) and batch.prompts[2:] == ("dog", "dog")


def cut_out(seed: int, white: bool = True) -> Photo:
    """A photo whose left half is its subject, by its transparency or by an empty mask."""
    plain, mask = photo(seed), Image.new("L", (48, 40))
    if not white:
        return Photo(plain.name, plain.picture, mask)
    mask.paste(255, (0, 0, 24, 40))
    return Photo(plain.name, plain.picture, None, mask)


def batches_of(*photos: Photo) -> ConceptBatches:
    prepared, _ = run(augment=False)
    concepts = [TrainingConcept("a <new1> dog", "dog", photos)]
    return ConceptBatches(prepared.method.model, concepts, prepared.trainer.config, SIZE)


def test_the_error_counts_where_a_photo_is_not_transparent() -> None:
    ((_, batch),) = batches_of(cut_out(0), cut_out(1))(0, 0)
    assert batch.masks[..., 0].all() and not batch.masks[..., -1].any()


def test_photos_with_empty_masks_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    batches_of(cut_out(0), cut_out(1, white=False))
    assert "skipped: the mask of photo 1 is empty" in caplog.text
    with pytest.raises(ConfigError, match="every mask is empty"):
        batches_of(cut_out(1, white=False))


def test_class_pictures_are_kept_at_the_side_of_training(tmp_path: Path) -> None:
    photo(3).picture.resize((480, 400)).save(tmp_path / "large.png")
    photo(4).picture.resize((28, 20)).save(tmp_path / "small.png")
    shrunk, whole = (load_class_photos(tmp_path, "dog", side) for side in (SIZE, 4000))
    assert [(each.photo.picture.size, each.size) for each in shrunk] == [((32, 32), (480, 400)), ((28, 20), (28, 20))]
    prepared, _ = run()
    model, config = prepared.method.model, prepared.trainer.config
    ours, theirs = (
        ConceptBatches(model, [TrainingConcept("a <new1> dog", "dog", [photo(0)], each)], config, SIZE)(0, 0)[0][1]
        for each in (shrunk, whole)
    )
    assert torch.equal(ours.latents, theirs.latents) and torch.equal(ours.time_ids, theirs.time_ids)


@pytest.mark.parametrize(
    ("size", "free", "sentence"), [(SIZE + 1, None, "must be a multiple"), (SIZE, 1000, "GB are free")]
)
def test_what_cannot_be_trained_is_said_before_pictures_are_made(
    monkeypatch: pytest.MonkeyPatch, size: int, free: int | None, sentence: str
) -> None:
    prepared, _ = run()
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    with pytest.raises(Cones2Error, match=sentence):
        check_before_pictures([concept(classes=0)], prepared.trainer.config, size, prepared.method.model)


def test_a_checkpoint_that_fits_in_part_changes_nothing(tmp_path: Path) -> None:
    first, _ = run(checkpoint=tmp_path / "c.pt")
    first.trainer.run()
    saved = torch.load(tmp_path / "c.pt", weights_only=True)
    torch.save({**saved, "optimizer": {}}, tmp_path / "c.pt")
    second, _ = run()
    second.trainer._checkpoint, second.trainer._data = tmp_path / "c.pt", saved["data"]
    with pytest.raises(CheckpointError, match="does not fit"):
        second.trainer.resume()
    assert not any(moved(second).values())


def test_no_draw_leaves_the_loss_without_a_cell() -> None:
    for seed in range(200):
        draw = draw_augmentation(64, keyed_generator(seed))
        assert augmented(photo(0).picture, 64, draw, 8).mask.any()


def test_a_small_photo_is_pasted_on_gray() -> None:
    seen = augmented(photo(0).picture, 64, Draw(32, "very small ", 20, 40), 8)
    assert seen.pixels.shape == (3, 64, 64) and not seen.pixels[:, 40:].any() and seen.pixels[:, 4:36, 24:56].any()


def test_class_words_are_those_of_the_prompts_that_name_the_token() -> None:
    assert class_words(["<new2>"], [concept("<new1>"), TrainingConcept("a <new2> pot", "pot", [])]) == ["pot"]


def test_a_piece_is_looked_up_and_not_tokenized() -> None:
    from tests.support.tiny_diffusers import SmallTokenizer

    class Known(SmallTokenizer):
        def get_vocab(self) -> dict[str, int]:
            return {"ktn": 7, "ktn</w>": 8, "pll": 9, "dog": 10}

    model = tiny_model()
    model.text.tokenizers[:] = [Known()]
    (rows,) = start_rows(model.text, ["<new1>", "<new2>"])
    assert torch.equal(rows.detach(), model.text.encoders[0].get_input_embeddings().weight[[7, 9]])
    with pytest.raises(ConfigError, match="choose another token"):
        start_rows(model.text, ["dog"])
    with pytest.raises(ConfigError, match="not a piece"):
        start_rows(model.text, ["<new1>"], ["xyz"])
