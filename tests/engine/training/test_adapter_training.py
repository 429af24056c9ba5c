"""The training of an image adapter: what learns, that a run goes on where it stopped, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from cones2.diffusers_models.for_adapter_training import check_start, image_reader, networks_digest, new_adapter
from cones2.diffusers_models.for_training import training_model
from cones2.diffusers_models.image_encoder import ImageEncoder, load_image_encoder
from cones2.errors import AdapterError, CheckpointError, Cones2Error, ConfigError
from cones2.picture_adapter.adapter import PictureAdapter
from cones2.picture_adapter.adapter_file import adapter_of, load_adapter, save_adapter
from cones2.prompt.tokens import PromptTokens
from cones2.storage.images import open_photo
from cones2.training import adapter_batches, adapter_session
from cones2.training.adapter_batches import AdapterBatches
from cones2.training.adapter_data import read_labeled_pictures
from cones2.training.adapter_session import AdapterRun, prepare_adapter_run
from cones2.training.config import adapter_config
from cones2.training.memory import MemoryEstimate
from tests.support.labeled_pictures import SIDE, label, write_labels, write_pictures
from tests.support.picture_adapters import adapter_weights, resampler_weights, write_image_encoder
from tests.support.tiny_diffusers import WIDTH, tiny_model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("labeled") / "pictures")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ImageEncoder:
    return load_image_encoder(write_image_encoder(tmp_path_factory.mktemp("encoder")))


def run(
    pictures: Path,
    encoder: ImageEncoder,
    checkpoint: Path | None = None,
    start: PictureAdapter | None = None,
    checkpointing: bool = False,
    **changes: object,
) -> AdapterRun:
    model = tiny_model()
    start = start or new_adapter(model, encoder, 2, 0)
    settings = {"steps": 4, "learning_rate": 1e-3, "batch_size": 2, "accumulation": 1, "checkpoint_every": 2, **changes}
    config, labeled = adapter_config("adapter", **settings), read_labeled_pictures(pictures)
    networks, reader = training_model(model, "mip-adapter", checkpointing), image_reader(encoder, start)
    return prepare_adapter_run(networks, reader, start, labeled, config, SIDE, checkpoint)


def weights(prepared: AdapterRun) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in prepared.method.parameters()]


def test_all_of_a_new_adapter_learns(pictures: Path, encoder: ImageEncoder) -> None:
    prepared = run(pictures, encoder, steps=2)
    prepared.trainer.run()
    assert bool((prepared.method.residual() > 0).all())


def test_the_loss_falls(pictures: Path, encoder: ImageEncoder) -> None:
    prepared = run(pictures, encoder, steps=30, learning_rate=3e-2, drop=0.0)
    batches = [prepared.trainer._batches(step, 0)[0][1] for step in range(4)]

    @torch.no_grad()
    def error() -> float:
        return sum(float(prepared.method(batch)[0]) for batch in batches)

    before = error()
    prepared.trainer.run()
    assert error() < 0.98 * before


def test_an_adapter_to_start_from_keeps_its_projection(pictures: Path, encoder: ImageEncoder) -> None:
    start = adapter_of(adapter_weights(tiny_model().cross_attention_widths, WIDTH))
    prepared = run(pictures, encoder, start=start, learn_projection=False, steps=1)
    prepared.trainer.run()
    adapter = prepared.method.adapter()
    assert all(torch.equal(adapter.projection[name], weight) for name, weight in start.projection.items())
    assert not torch.equal(adapter.layers[0].to_v, start.layers[0].to_v)


def test_a_plain_adapter_gets_text_factors_that_the_seed_decides(pictures: Path, encoder: ImageEncoder) -> None:
    start = adapter_of(adapter_weights(tiny_model().cross_attention_widths, WIDTH, "plain"))
    factors = [run(pictures, encoder, start=start, seed=seed).method.adapter().layers[0] for seed in (1, 1, 2)]
    first, same, other = (layer.text_to_weight for layer in factors)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_an_adapter_with_a_resampler_is_trained_further(pictures: Path, encoder: ImageEncoder) -> None:
    content = adapter_weights(tiny_model().cross_attention_widths, WIDTH)
    content["image_proj"] = resampler_weights(WIDTH, 16)
    prepared = run(pictures, encoder, start=adapter_of(content), steps=1)
    prepared.trainer.run()
    assert bool((prepared.method.residual() > 0).any())


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path: Path, pictures: Path, encoder: ImageEncoder) -> None:
    whole = run(pictures, encoder)
    whole.trainer.run()
    stopped = run(pictures, encoder, tmp_path / "checkpoint.pt")
    done: list[object] = []
    stopped.trainer.run(done.append, lambda: len(done) == 2)
    resumed = run(pictures, encoder, tmp_path / "checkpoint.pt")
    assert resumed.trainer.step == 2
    resumed.trainer.run()
    assert all(map(torch.equal, weights(resumed), weights(whole)))


def test_recomputed_activations_give_the_same_gradients(pictures: Path, encoder: ImageEncoder) -> None:
    gradients = []
    for checkpointing in (False, True):
        prepared = run(pictures, encoder, checkpointing=checkpointing)
        ((_, batch),) = prepared.trainer._batches(0, 0)
        prepared.method(batch)[0].backward()
        gradients.append([parameter.grad for parameter in prepared.method.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


def test_a_run_on_other_pictures_is_not_continued(tmp_path: Path, pictures: Path, encoder: ImageEncoder) -> None:
    first = run(pictures, encoder, tmp_path / "checkpoint.pt", steps=2)
    first.trainer.run()
    other = write_pictures(tmp_path / "other")
    write_labels(other, [label(0, text="the dog, a vase"), label(1)])
    with pytest.raises(CheckpointError, match="other photos"):
        run(other, encoder, tmp_path / "checkpoint.pt", steps=2)


def test_a_run_on_files_of_other_contents_is_not_continued(tmp_path: Path, encoder: ImageEncoder) -> None:
    folder = write_pictures(tmp_path / "pictures")
    for color in ("red", "lime"):
        Image.new("RGB", (SIDE, SIDE), color).save(folder / "0.bmp")
        write_labels(folder, [label(0, file_name="0.bmp")])
        if color == "red":
            run(folder, encoder, tmp_path / "checkpoint.pt", steps=2).trainer.run()
    with pytest.raises(CheckpointError, match="other photos or pictures"):
        run(folder, encoder, tmp_path / "checkpoint.pt", steps=2)


def test_a_run_from_another_adapter_is_not_continued(tmp_path: Path, pictures: Path, encoder: ImageEncoder) -> None:
    first, other = (new_adapter(tiny_model(), encoder, 2, seed) for seed in (0, 1))
    run(pictures, encoder, tmp_path / "checkpoint.pt", first, steps=2).trainer.run()
    assert run(pictures, encoder, tmp_path / "checkpoint.pt", first, steps=2).trainer.step == 2
    with pytest.raises(CheckpointError, match="other networks"):
        run(pictures, encoder, tmp_path / "checkpoint.pt", other, steps=2)


def test_the_digest_of_the_networks_tells_each_of_them(tmp_path: Path, encoder: ImageEncoder) -> None:
    model = tiny_model()
    before = networks_digest(model, encoder)
    assert networks_digest(tiny_model(), encoder) == before
    digests = {before}
    for network in (model.unet, model.vae, model.text.encoders):
        with torch.no_grad():
            next(network.parameters()).add_(1)
        digests.add(networks_digest(model, encoder))
    digests.add(networks_digest(model, load_image_encoder(write_image_encoder(tmp_path, 4))))
    assert len(digests) == 5


def test_an_error_of_the_batches_leaves_a_checkpoint(tmp_path: Path, encoder: ImageEncoder) -> None:
    folder = write_pictures(tmp_path / "pictures")
    prepared = run(folder, encoder, tmp_path / "checkpoint.pt", checkpoint_every=0)
    prepared.trainer._batches._kept.room = 0  # type: ignore[attr-defined]

    def lose(record: object) -> None:
        (folder / "vase.png").unlink(missing_ok=True)

    with pytest.raises(Cones2Error, match=r"there is no cut-out at .*vase\.png"):
        prepared.trainer.run(lose)
    write_pictures(folder)
    assert run(folder, encoder, tmp_path / "checkpoint.pt", checkpoint_every=0).trainer.step == prepared.trainer.step


def test_a_name_without_tokens_is_found_before_the_training(
    tmp_path: Path, encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, labeled = new_adapter(tiny_model(), encoder, 2, 0), read_labeled_pictures(write_pictures(tmp_path))
    networks = training_model(tiny_model(), "mip-adapter")
    read = networks.prompt_tokens

    def without_vase(text: str) -> PromptTokens:
        tokens = read(text)
        return replace(tokens, tokens=()) if text == "vase" else tokens

    networks = replace(networks, prompt_tokens=without_vase)
    with pytest.raises(ConfigError, match='line 1: the name "vase" has no token'):
        prepare_adapter_run(networks, image_reader(encoder, start), start, labeled, adapter_config("a"), SIDE)


def test_a_picture_is_decoded_once_for_its_latent_and_objects(
    pictures: Path, encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(adapter_batches, "open_photo", lambda path: opened.append(path) or open_photo(path))
    start = new_adapter(tiny_model(), encoder, 2, 0)
    config = adapter_config("adapter", batch_size=1, accumulation=1, drop=0.0)
    networks, labeled = training_model(tiny_model(), "mip-adapter"), read_labeled_pictures(pictures)
    AdapterBatches(networks, image_reader(encoder, start), labeled, config, SIDE)(0, 0)
    assert len(opened) == 1


def test_weights_that_are_there_already_are_not_counted_again(
    pictures: Path, encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates: list[MemoryEstimate] = []
    monkeypatch.setattr(adapter_session, "check_memory", lambda estimate, *_: estimates.append(estimate))
    learning = sum(weight.numel() for weight in run(pictures, encoder).method.parameters())
    assert estimates[0].trainable == 3 * 4 * learning  # gradient and two moments in float32


def test_the_model_is_left_as_it_is(pictures: Path, encoder: ImageEncoder) -> None:
    model = tiny_model()
    before = {name: weight.clone() for name, weight in model.unet.state_dict().items()}
    start = new_adapter(model, encoder, 2, 0)
    config = adapter_config("adapter", steps=1, batch_size=1, accumulation=1)
    networks, labeled = training_model(model, "mip-adapter"), read_labeled_pictures(pictures)
    prepare_adapter_run(networks, image_reader(encoder, start), start, labeled, config, SIDE).trainer.run()
    assert all(torch.equal(weight, before[name]) for name, weight in model.unet.state_dict().items())


def test_what_was_learned_is_in_the_file(tmp_path: Path, pictures: Path, encoder: ImageEncoder) -> None:
    prepared = run(pictures, encoder, steps=1)
    adapter, facts = prepared.result(prepared.trainer.run(), "tiny")
    loaded = load_adapter(save_adapter(adapter, tmp_path / "a.safetensors", facts))
    loaded.check_layers(tiny_model().cross_attention_widths)
    assert loaded.has_text_factor and facts["steps"] == "1" and facts["pictures"] == "2"
    torch.testing.assert_close(loaded.layers[0].to_k.float(), adapter.layers[0].to_k.detach(), rtol=1e-3, atol=1e-3)


def test_numbers_too_large_for_half_precision_are_not_saved(tmp_path: Path, encoder: ImageEncoder) -> None:
    adapter = new_adapter(tiny_model(), encoder, 2, 0)
    adapter.layers[0].to_k[0, 0] = 1e6
    with pytest.raises(AdapterError, match="half precision"):
        save_adapter(adapter, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_references_and_captions_are_dropped_as_often_as_asked(pictures: Path, encoder: ImageEncoder) -> None:
    start = new_adapter(tiny_model(), encoder, 2, 0)
    config = adapter_config("adapter", batch_size=200, accumulation=1, drop=0.2)
    networks, labeled = training_model(tiny_model(), "mip-adapter"), read_labeled_pictures(pictures)
    ((_, batch),) = AdapterBatches(networks, image_reader(encoder, start), labeled, config, SIDE)(0, 0)
    captions = torch.tensor([not caption for caption in batch.captions])
    references = ~batch.features.flatten(1).any(1)
    for dropped, share in ((captions, 0.4), (references, 0.4), (captions & references, 0.2)):
        assert abs(float(dropped.float().mean()) - share) < 0.12
    assert all(sorted(names) == ["dog", "vase"] for names in batch.names)


def test_an_object_outside_of_the_crop_is_no_reference(tmp_path: Path, encoder: ImageEncoder) -> None:
    folder = write_pictures(tmp_path / "wide", 1)
    Image.new("RGB", (4 * SIDE, SIDE)).save(folder / "0.png")
    line = label(0)
    line["objects"] = [{"name": "vase", "box": [0.9, 0, 0.1, 1], "references": ["vase.png"]}]
    write_labels(folder, [line])
    start = new_adapter(tiny_model(), encoder, 2, 0)
    config = adapter_config("adapter", batch_size=30, accumulation=1, drop=0.0)
    networks, labeled = training_model(tiny_model(), "mip-adapter"), read_labeled_pictures(folder)
    ((_, batch),) = AdapterBatches(networks, image_reader(encoder, start), labeled, config, SIDE)(0, 0)
    for names, sizes in zip(batch.names, batch.time_ids, strict=True):
        assert bool(names) == (sizes[3] + SIDE >= 0.95 * 4 * SIDE)


def test_an_adapter_of_another_model_is_one_sentence(encoder: ImageEncoder) -> None:
    with pytest.raises(AdapterError, match="layers"):
        check_start(tiny_model(), adapter_of(adapter_weights([8], WIDTH)))


def test_an_impossible_resolution_is_one_sentence(pictures: Path, encoder: ImageEncoder) -> None:
    start = new_adapter(tiny_model(), encoder, 2, 0)
    networks, labeled = training_model(tiny_model(), "mip-adapter"), read_labeled_pictures(pictures)
    with pytest.raises(ConfigError, match="multiple of"):
        prepare_adapter_run(networks, image_reader(encoder, start), start, labeled, adapter_config("a"), 33)
