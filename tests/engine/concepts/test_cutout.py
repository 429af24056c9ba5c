"""Cut-outs, and how residual files hold them."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as serialize

from cones2.concepts.cutout import MAX_CUTOUTS, MAX_SIDE, STORED_SIDE, CutOut, cut_out
from cones2.concepts.cutout_text import MAX_TEXT, cutout_png, read_cutouts, write_cutouts
from cones2.concepts.residual import make_residual
from cones2.concepts.residual_file import load_residual, save_residual
from cones2.errors import Cones2Error
from cones2.prompt.claims import PhraseRef


def square(side: int = 20, inner: slice = slice(5, 15)) -> CutOut:
    """Red, on a green photo."""
    photo, mask = torch.zeros(3, side, side), torch.zeros(side, side, dtype=torch.bool)
    photo[1] = 1
    photo[:, inner, inner] = torch.tensor([1.0, 0, 0])[:, None, None]
    mask[inner, inner] = True
    return cut_out(photo, mask)


def test_a_cut_out_is_as_tight_as_its_mask() -> None:
    cut = square()
    assert (cut.height, cut.width) == (10, 10) and cut.rgba[3].min() == 1
    assert torch.equal(cut.rgba[:3, 0, 0], torch.tensor([1.0, 0, 0]))


@settings(max_examples=30)
@given(side=st.integers(2, 300), longest=st.integers(1, 200))
def test_a_large_cut_out_becomes_smaller_and_takes_no_color_from_around_it(side: int, longest: int) -> None:
    photo, mask = torch.zeros(3, side, side // 2 + 1), torch.zeros(side, side // 2 + 1)
    photo[1], mask[:: max(2, side // 7)] = 1, 1
    photo[:, mask > 0] = torch.tensor([1.0, 0, 0])[:, None]
    cut = cut_out(photo, mask, longest)
    assert max(cut.height, cut.width) <= max(longest, 1)
    assert (cut.rgba[1] * cut.rgba[3]).max() < 1e-3


@pytest.mark.parametrize(
    ("photo", "mask", "message"),
    [
        (torch.zeros(3, 8, 8), torch.zeros(8, 8), "empty"),
        (torch.zeros(3, 8, 8), torch.full((8, 8), float("nan")), "empty"),
        (torch.zeros(3, 8, 8), torch.ones(8, 9), r"\(3, 8, 8\) and its mask \(8, 9\)"),
        (torch.zeros(8, 8), torch.ones(8, 8), r"the photo is \(8, 8\)"),
    ],
)
def test_a_photo_without_its_mask_is_no_cut_out(photo: torch.Tensor, mask: torch.Tensor, message: str) -> None:
    with pytest.raises(Cones2Error, match=message):
        cut_out(photo, mask)


@pytest.mark.parametrize(
    "rgba",
    [torch.ones(3, 4, 4), torch.ones(4, 0, 4), torch.ones(4, 1, MAX_SIDE + 1), torch.ones(4, 4, 4) * 2]
    + [torch.full((4, 4, 4), float("nan")), torch.zeros(4, 4, 4)],
)
def test_a_cut_out_is_checked(rgba: torch.Tensor) -> None:
    with pytest.raises(Cones2Error, match="cut-out"):
        CutOut(rgba)


def test_flipping_twice_changes_nothing() -> None:
    cut = CutOut(torch.rand(4, 5, 7).clamp(min=0.5))
    assert torch.equal(cut.flipped().flipped().rgba, cut.rgba)
    assert torch.equal(cut.flipped().rgba[..., 0], cut.rgba[..., -1])


# --- in files


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, MAX_CUTOUTS), side=st.integers(1, 40), seed=st.integers(0, 99))
def test_small_cut_outs_survive_the_file_to_the_bit_of_a_picture(
    tmp_path: Path, count: int, side: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    cuts = [
        CutOut((torch.rand(4, side, side + 1, generator=generator) * 127 + 128).round() / 255) for _ in range(count)
    ]
    residual = make_residual("dog", torch.ones(1, 8), {"steps": "3"}).with_cutouts(cuts)
    loaded = load_residual(save_residual(residual, tmp_path / "dog", overwrite=True))
    assert [torch.equal(a.rgba, b.rgba) for a, b in zip(loaded.cutouts, cuts, strict=True)] == [True] * count
    assert "cutouts" not in loaded.metadata and loaded.metadata["steps"] == "3"


def test_six_cut_outs_of_noise_are_what_a_file_holds_at_most(tmp_path: Path) -> None:
    cuts = [CutOut(torch.rand(4, 300, 200).clamp(min=0.2)) for _ in range(MAX_CUTOUTS)]
    text = write_cutouts(cuts)
    assert len(text) < MAX_TEXT
    assert {(cut.height, cut.width) for cut in read_cutouts(text)} == {(STORED_SIDE, 85)}
    with pytest.raises(Cones2Error, match="7 cut-outs"):
        write_cutouts([*cuts, cuts[0]])


def test_other_strengths_and_phrases_keep_the_cut_outs() -> None:
    residual = make_residual("dog", torch.ones(1, 8)).with_cutouts([square()])
    assert residual.with_strength(0.5).with_reference(PhraseRef("cat")).cutouts == residual.cutouts


def text_of(picture: Image.Image, format: str = "PNG", **options: object) -> str:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return base64.b64encode(stream.getvalue()).decode()


GOOD = text_of(Image.new("RGBA", (4, 4), "red"))
HOSTILE = {
    "no base64": "ä" * 20,
    "no picture": base64.b64encode(b"GIF89a and more").decode(),
    "another format": text_of(Image.new("RGB", (4, 4)), "GIF"),
    "half a picture": GOOD[: len(GOOD) // 2 // 4 * 4],
    "a huge picture": text_of(Image.new("L", (20_000, 10_000))),
    "an animation": text_of(
        Image.new("RGB", (4, 4)), "WEBP", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]
    ),
    "nothing opaque": text_of(Image.new("RGBA", (4, 4))),
    "too many": " ".join([GOOD] * 7),
    "too long": "A" * (MAX_TEXT + 4),
    "one of two": f"{GOOD} AAAA",
    "spaces": "   ",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_cut_outs_leave_a_residual_without_and_one_warning(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "dog.safetensors"
    path.write_bytes(serialize({"residual": torch.ones(1, 8)}, {"subject": "dog", "cutouts": text}))
    with caplog.at_level(logging.WARNING):
        residual = load_residual(path)
    assert residual.subject == "dog" and residual.cutouts == ()
    [message] = caplog.messages
    assert "its cut-outs are left out" in message and len(message) < 700


@settings(max_examples=60)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()))
def test_any_text_is_cut_outs_or_one_sentence(text: str) -> None:
    try:
        assert all(isinstance(cut, CutOut) for cut in read_cutouts(text))
    except Cones2Error as error:
        assert str(error)


def test_a_web_p_picture_and_one_without_transparency_are_read() -> None:
    [lossy, opaque] = read_cutouts(
        f"{text_of(Image.new('RGBA', (8, 6), 'red'), 'WEBP')} {text_of(Image.new('RGB', (3, 5), 'red'))}"
    )
    assert (lossy.height, lossy.width) == (6, 8) and (opaque.height, opaque.width) == (5, 3)
    assert np.allclose(opaque.rgba[:, 0, 0], [1, 0, 0, 1])


def test_a_page_gets_a_small_picture_of_a_cut_out() -> None:
    rgba = torch.zeros(4, 300, 200)
    rgba[0], rgba[3, 50:250] = 1.0, 1.0
    picture = Image.open(io.BytesIO(cutout_png(CutOut(rgba))))
    assert (picture.format, picture.mode, max(picture.size)) == ("PNG", "RGBA", STORED_SIDE)
    assert picture.getpixel((42, 64)) == (255, 0, 0, 255)
