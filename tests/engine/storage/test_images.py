"""Opening pictures from strangers, and bringing them to RGB."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from cones2.errors import Cones2Error, ConfigError, LayoutError
from cones2.storage import images
from cones2.storage.images import MAX_PIXELS, open_layout_picture, open_mask, open_photo, to_rgb

OPENERS = [(open_layout_picture, LayoutError), (open_photo, ConfigError), (open_mask, ConfigError)]
every_opener = pytest.mark.parametrize(("open_picture", "kind"), OPENERS, ids=["layout", "photo", "mask"])


def quarters(size: int = 20) -> Image.Image:
    """White above black."""
    picture = Image.new("RGB", (size, 2 * size), "black")
    picture.paste("white", (0, 0, size, size))
    return picture


@every_opener
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.tif"])
def test_every_known_format_opens_whatever_its_name(tmp_path, name, open_picture, kind):
    quarters().save(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "any.name")
    assert open_picture(tmp_path / "any.name").size == (20, 40)


@every_opener
def test_a_picture_that_needs_a_program_is_refused_without_starting_it(tmp_path, open_picture, kind, monkeypatch):
    quarters().save(tmp_path / "photo.eps")
    (tmp_path / "photo.eps").rename(tmp_path / "photo.png")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    with pytest.raises(kind, match=r"photo\.png is not a readable picture: none of PNG, JPEG, WEBP, BMP, GIF, TIFF"):
        open_picture(tmp_path / "photo.png")


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@every_opener
@pytest.mark.parametrize("size", [(20_000, 5_001), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, size, open_picture, kind, monkeypatch):
    (tmp_path / "huge.png").write_bytes(png_of_size(*size))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(kind, match=r"huge\.png"):
        open_picture(tmp_path / "huge.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_limit_is_named(tmp_path):
    (tmp_path / "huge.png").write_bytes(png_of_size(20_000, 5_001))
    with pytest.raises(LayoutError, match=r"the layout picture huge\.png is 20000 × 5001: 100,000,000 pixels are the"):
        open_layout_picture(tmp_path / "huge.png")


@pytest.mark.filterwarnings("error")
def test_pillow_does_not_warn_below_the_limit(tmp_path):
    side = 9_900
    assert Image.MAX_IMAGE_PIXELS < side * side < MAX_PIXELS
    Image.new("1", (side, side)).save(tmp_path / "large.png")
    assert open_layout_picture(tmp_path / "large.png").size == (side, side)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    quarters().save(tmp_path / "a.bmp")
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 100)
    with pytest.raises(Cones2Error, match=r"a\.bmp is larger than 100 bytes, the most a photo may have"):
        open_photo(tmp_path / "a.bmp")


@every_opener
def test_damaged_and_missing_pictures_are_named(tmp_path, open_picture, kind):
    (tmp_path / "text.png").write_text("a picture, honestly")
    quarters().save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    for name in ("text.png", "cut.png"):
        with pytest.raises(kind, match=rf"{name} is not a readable picture"):
            open_picture(tmp_path / name)
    with pytest.raises(Cones2Error, match=r"nowhere\.png; the folder has cut\.png"):
        open_picture(tmp_path / "nowhere.png")


def test_names_that_write_to_the_terminal_are_escaped(tmp_path):
    path = tmp_path / "\x1b[2J\n.png"
    path.write_text("no picture")
    with pytest.raises(ConfigError) as caught:
        open_photo(path)
    assert str(caught.value).startswith(r"\x1b[2J\n.png is not a readable picture")


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]))
def test_damaged_pictures_never_surprise(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    quarters().save(stream, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}))
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "a.png").write_bytes(content)
    try:
        picture = open_photo(tmp_path / "a.png")
    except ConfigError as error:
        assert "a.png" in str(error)
    else:
        assert picture.mode == "RGB" and picture.width * picture.height <= MAX_PIXELS


@pytest.mark.parametrize(("open_picture", "size"), [(open_photo, (40, 20)), (open_layout_picture, (20, 40))])
def test_photos_follow_their_orientation_and_layouts_stay_as_painted(tmp_path, open_picture, size):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    quarters().save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == size


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_the_transparency_of_a_photo_lies_on_white(tmp_path, mode):
    if mode == "P":
        picture = Image.new("P", (20, 20), 0)
        picture.putpalette([0, 0, 0] * 256)
        picture.save(tmp_path / "a.png", transparency=0)
    else:
        Image.new("RGBA", (20, 20), (0, 0, 0, 0)).convert(mode).save(tmp_path / "a.png")
    assert open_photo(tmp_path / "a.png").getpixel((5, 5)) == (255, 255, 255)


def test_grays_of_16_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(np.full((20, 20), 32768, np.uint16)).save(tmp_path / "a.png")
    assert open_photo(tmp_path / "a.png").getpixel((0, 0)) == (127, 127, 127)
    assert open_mask(tmp_path / "a.png").getpixel((0, 0)) == 127


def test_the_transparent_gray_of_16_bits_is_white_and_no_other(tmp_path):
    grays = np.full((20, 20), 8192, np.uint16)
    grays[:, 10:] = 32768
    Image.fromarray(grays).save(tmp_path / "a.png", transparency=32768)
    photo = open_photo(tmp_path / "a.png")
    assert photo.getpixel((0, 0)) == (31, 31, 31) and photo.getpixel((19, 0)) == (255, 255, 255)


def test_the_lightness_of_a_lab_picture_is_its_mask(tmp_path):
    Image.merge("LAB", [Image.new("L", (20, 20), value) for value in (200, 90, 160)]).save(tmp_path / "a.tif")
    assert open_mask(tmp_path / "a.tif").getpixel((0, 0)) == 200
    assert open_photo(tmp_path / "a.tif").mode == "RGB"


def test_other_modes_become_rgb(tmp_path):
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    Image.new("L", (20, 20), 77).save(tmp_path / "b.png")
    assert open_photo(tmp_path / "a.jpg").mode == "RGB"
    assert open_photo(tmp_path / "b.png").getpixel((0, 0)) == (77, 77, 77)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_counts_as_white(mode):
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 0, 255))
    rgb = to_rgb(picture.convert(mode))
    assert rgb.mode == "RGB"
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    assert rgb.getpixel((1, 0)) == (0, 0, 0)


def test_transparent_palette_entry_counts_as_white(tmp_path):
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "palette.png", transparency=0)
    with Image.open(tmp_path / "palette.png") as loaded:
        rgb = to_rgb(loaded)
    assert [rgb.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (0, 0, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "I;16"])
def test_every_mode_becomes_rgb(mode):
    assert to_rgb(Image.new(mode, (3, 2))).mode == "RGB"
