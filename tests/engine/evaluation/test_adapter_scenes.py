"""What the toy world's image adapter and its image encoder learn from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from cones2.assets import TOYWORLD
from cones2.diffusers_models.for_adapter_training import new_adapter
from cones2.diffusers_models.image_encoder import ImageEncoder, load_image_encoder
from cones2.diffusers_models.loading import load_model
from cones2.evaluation.toyworld.world import HELD_OUT
from cones2.picture_adapter.adapter_file import load_adapter, save_adapter
from cones2.storage.images import open_mask, open_photo
from cones2.training.adapter_data import read_labeled_pictures

pytest.importorskip("transformers")

from tools.toyworld import adapter_scenes, image_encoder
from tools.toyworld.export import export_adapter
from tools.toyworld.run import Options


def test_scenes_are_read_as_labeled_pictures(tmp_path: Path) -> None:
    adapter_scenes.write_scenes(tmp_path, 6, 0)
    pictures = read_labeled_pictures(tmp_path)
    assert len(pictures) == 6 and {len(each.objects) for each in pictures} <= {1, 2, 3}
    for picture in pictures:
        width, height = open_photo(picture.path).size
        for thing in picture.objects:
            assert thing.mask is not None and len(thing.references) == adapter_scenes.PER_OBJECT
            left, top, right, bottom = open_mask(thing.mask).getbbox()
            found = (left / width, top / height, (right - left) / width, (bottom - top) / height)
            assert thing.box == pytest.approx(found, abs=1e-4)


def test_no_custom_subject_is_learned_from() -> None:
    rng = random.Random(1)
    looks = [adapter_scenes.any_look(rng) for _ in range(2000)]
    assert not HELD_OUT & set(looks)
    assert 0.3 < sum(look.badge is not None for look in looks) / len(looks) < 0.6


def test_the_encoder_is_trained_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_encoder, "pictures", lambda encoder, seed, count=0: drawn(encoder, seed))

    def drawn(encoder: ImageEncoder, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = random.Random(seed)
        looks = [adapter_scenes.any_look(rng) for _ in range(4)]
        seen = [encoder.pixels(image_encoder.cutout_picture(each)) for each in adapter_scenes.cutouts(rng, looks)]
        return torch.cat(seen), torch.tensor([image_encoder.answers(look) for look in looks])

    image_encoder.train(Options(tmp_path, 1, 4, 1e-3))
    loaded = load_image_encoder(tmp_path / "image_encoder")
    assert loaded.side == 64 and loaded.network.config.projection_dim == 128


def test_encoder_and_adapter_are_exported_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = image_encoder.Classifier().encoder
    encoder.save_pretrained(tmp_path / "work" / "image_encoder")
    model = load_model(TOYWORLD)
    (tmp_path / "work" / "adapter").mkdir()
    adapter = new_adapter(model, ImageEncoder(encoder), 4, 0)
    save_adapter(adapter, tmp_path / "work" / "adapter" / "mip_adapter.safetensors")
    export_adapter(tmp_path / "work", tmp_path / "assets")
    loaded = load_adapter(tmp_path / "assets" / "adapter.safetensors")
    loaded.check_layers(model.cross_attention_widths)
    sizes = [path.stat().st_size for path in (tmp_path / "assets").rglob("*.safetensors")]
    assert len(sizes) == 2 and sum(sizes) < 4 << 20
    picture = torch.zeros(1, 3, 64, 64)
    features = load_image_encoder(tmp_path / "assets").features(loaded, picture)
    torch.testing.assert_close(features, encoder(picture).image_embeds.detach(), rtol=0.05, atol=0.02)
