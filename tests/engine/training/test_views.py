"""Photos in, views out."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from cones2.errors import ConfigError
from cones2.storage.images import open_photo
from cones2.training import views
from cones2.training.batches import encode_views
from cones2.training.views import (
    ViewSettings,
    bucket_size,
    load_photos,
    make_views,
    photos_from_pixels,
)
from tests.support.tiny_training import photo, tiny_model


def gradient(width, height):
    """Red grows to the right, green downwards."""
    red = np.tile(np.linspace(0, 255, width), (height, 1))
    green = np.tile(np.linspace(0, 255, height)[:, None], (1, width))
    return Image.fromarray(np.stack([red, green, np.zeros_like(red)], -1).astype(np.uint8))


def test_photos_are_upright_rgb(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    gradient(40, 20).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(np.full((20, 20), 32768, np.uint16)).save(tmp_path / "b.png")
    turned, gray = load_photos(tmp_path)
    assert turned.picture.size == (20, 40)
    assert gray.picture.getpixel((0, 0)) == (127, 127, 127)


def test_a_photo_that_needs_a_program_is_skipped_without_starting_it(tmp_path, caplog, monkeypatch):
    gradient(40, 40).save(tmp_path / "good.png")
    gradient(40, 40).save(tmp_path / "photo.eps")
    (tmp_path / "photo.eps").rename(tmp_path / "photo.png")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    assert [item.name for item in load_photos(tmp_path)] == ["good.png"]
    assert "photo.png is not a readable picture" in caplog.text


def test_unusable_files_are_named_and_skipped(tmp_path, caplog):
    gradient(40, 40).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no jpeg")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.png").mkdir()
    gradient(4, 40).save(tmp_path / "thin.png")
    gradient(20, 500).save(tmp_path / "long.png")
    with caplog.at_level(logging.WARNING, "cones2"):
        photos = load_photos(tmp_path)
    assert [item.name for item in photos] == ["good.png"]
    for name in ("broken.jpg", "notes.txt", "folder.png", "thin.png", "long.png"):
        assert name in caplog.text


def test_files_that_are_not_pictures_share_one_line(tmp_path, caplog):
    gradient(40, 40).save(tmp_path / "good.png")
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("a caption")
    with caplog.at_level(logging.WARNING, "cones2"):
        load_photos(tmp_path)
    [line] = caplog.messages
    assert line.startswith("skipped, not pictures: 00.txt, 01.txt") and line.endswith("and 22 more")


def test_no_usable_photo_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no usable photo"):
        load_photos(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        load_photos(tmp_path / "nowhere")


def test_a_square_view_covers_and_crops():
    (view,) = make_views([photo(0, (200, 100))], ViewSettings(64, crops=1))
    assert view.pixels.shape == (3, 64, 64)
    assert view.time_ids.tolist() == [100, 200, 0, 32, 64, 64]
    assert -1 <= float(view.pixels.min()) < float(view.pixels.max()) <= 1


def test_crops_are_seeded_and_a_fitting_photo_has_one():
    wide = [photo(0, (200, 100))]
    first, again, other = (make_views(wide, ViewSettings(64, crops=4, seed=seed)) for seed in (1, 1, 2))
    assert 1 < len(first) <= 4  # equal corners are taken once
    assert [view.time_ids.tolist() for view in first] == [view.time_ids.tolist() for view in again]
    assert [view.time_ids.tolist() for view in first] != [view.time_ids.tolist() for view in other]
    assert len(make_views([photo(0, (100, 100))], ViewSettings(64, crops=4))) == 1


def test_flip_mirrors_pixels_mask_and_crop():
    mask = Image.new("L", (200, 100))
    mask.paste(255, (0, 0, 90, 100))
    plain, mirrored = make_views([photo(0, (200, 100), mask)], ViewSettings(64, crops=1, flip=True))
    assert torch.equal(mirrored.pixels, plain.pixels.flip(-1)) and torch.equal(mirrored.mask, plain.mask.flip(-1))
    assert plain.time_ids[3] + mirrored.time_ids[3] + 64 == 128


@settings(max_examples=200)
@given(st.integers(16, 5000), st.integers(16, 5000), st.sampled_from([256, 512, 768, 1024]))
def test_buckets_fit_any_proportions(width, height, resolution):
    across, down = bucket_size(width, height, ViewSettings(resolution, buckets=True))
    assert across % 64 == down % 64 == 0 and across * down <= resolution**2
    assert max(across, down) <= 2 * min(across, down)
    assert (across >= down) if width > height else (down >= across) if height > width else across == down
    assert bucket_size(height, width, ViewSettings(resolution, buckets=True)) == (down, across)


def test_masks_are_found_by_stem_and_reach_the_latents(tmp_path, caplog):
    pictures, masks = tmp_path / "photos", tmp_path / "masks"
    pictures.mkdir()
    masks.mkdir()
    gradient(64, 64).save(pictures / "a.jpg")
    gradient(64, 64).save(pictures / "b.jpg")
    half = Image.new("L", (32, 32))
    half.paste(255, (0, 0, 16, 32))
    half.save(masks / "a.png")
    photos = load_photos(pictures, masks)
    assert "b.jpg has no mask" in caplog.text
    first, second = encode_views(tiny_model(), make_views(photos, ViewSettings(64)))
    assert second.mask is None
    assert first.mask.shape == (1, 8, 8)
    assert float(first.mask[:, :, :3].min()) == 1 and float(first.mask[:, :, 5:].max()) == 0


def test_a_photo_with_a_mask_is_decoded_once(tmp_path, monkeypatch):
    for folder in (tmp_path / "photos", tmp_path / "masks"):
        folder.mkdir()
        gradient(64, 32).save(folder / "a.png")
    opened = []
    monkeypatch.setattr(views, "open_photo", lambda path: opened.append(path) or open_photo(path))
    [item] = load_photos(tmp_path / "photos", tmp_path / "masks")
    assert len(opened) == 1 and item.mask.size == (64, 32)


def test_an_empty_mask_skips_its_photo(caplog):
    empty = photo(1, mask=Image.new("L", (64, 64)))
    assert [view.name for view in make_views([photo(0), empty], ViewSettings(64))] == ["0.png"]
    assert "mask of 1.png is empty" in caplog.text
    with pytest.raises(ConfigError, match="every mask is empty"):
        make_views([empty], ViewSettings(64))


def test_pixels_of_a_host_become_photos():
    pixels = torch.zeros(2, 20, 30, 4)
    pixels[1, ..., 3] = 1
    photos = photos_from_pixels(pixels, torch.ones(1, 10, 15))
    assert photos[0].picture.size == (30, 20) and photos[0].mask.size == (30, 20)
    assert photos[0].picture.getpixel((0, 0)) == (255, 255, 255)
    assert photos[1].picture.getpixel((0, 0)) == (0, 0, 0)
    with pytest.raises(ConfigError, match="3 masks for 2 images"):
        photos_from_pixels(pixels, torch.ones(3, 10, 15))


@pytest.mark.parametrize("resolution", [0, 63, 100])
def test_the_resolution_fits_the_model(resolution):
    with pytest.raises(ConfigError, match="must be a multiple of 64"):
        ViewSettings(resolution)


def test_gray_pixels_and_a_bare_mask_are_understood():
    [photo] = photos_from_pixels(torch.full((1, 8, 8, 1), 0.5), torch.ones(8, 8))
    assert photo.picture.mode == "RGB" and photo.picture.getpixel((0, 0))[0] in (127, 128)
    assert photo.mask is not None and photo.mask.size == (8, 8)


@pytest.mark.parametrize("name", ["images", "masks"])
def test_values_that_are_not_numbers_are_refused(name):
    values = {"images": torch.zeros(1, 8, 8, 3), "masks": torch.ones(1, 8, 8)}
    values[name][0, 0, 0] = torch.nan
    with pytest.raises(ConfigError, match=f"the {name} hold"):
        photos_from_pixels(values["images"], values["masks"])
