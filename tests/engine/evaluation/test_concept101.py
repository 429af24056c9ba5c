"""The field's figures against values computed by hand, with vectors that are easy to see through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cones2.evaluation.concept101 import Findings, cut, measure
from cones2.evaluation.concept_report import as_json, as_markdown
from cones2.evaluation.generated import Generated
from cones2.evaluation.scores import Share
from cones2.layout.regions import Box

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Colors:
    """A picture's vector is its mean color; a text's is written in it."""

    def pictures(self, pictures: Iterable[Image.Image]) -> torch.Tensor:
        means = [np.asarray(picture, dtype=np.float32).mean((0, 1)) for picture in pictures]
        return torch.nn.functional.normalize(torch.from_numpy(np.stack(means)), dim=-1)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        vectors = [torch.tensor([float(number) for number in text.split()]) for text in texts]
        return torch.nn.functional.normalize(torch.stack(vectors), dim=-1)


def plain(color: tuple[int, int, int], size: int = 4) -> Image.Image:
    return Image.new("RGB", (size, size), color)


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    picture = plain(left)
    picture.paste(right, (2, 0, 4, 4))
    return picture


REFERENCES = {"a": [plain(RED), plain(GREEN)], "b": [plain(BLUE)], "c": [plain(GREEN)]}
LEFT, RIGHT = Box(0, 0, 0.5, 1), Box(0.5, 0, 0.5, 1)


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    def one(name: str, picture: Image.Image, prompt: str, *subjects: str, **regions: Box) -> Generated:
        picture.save(tmp_path / name)
        return Generated(name, tmp_path / name, prompt, subjects, regions)

    pictures = [
        one("1.png", halves(RED, BLUE), "1 0 0", "a", "b", a=LEFT, b=RIGHT),
        one("2.png", halves(BLUE, RED), "0 -1 -1", "b", "a", a=LEFT, b=RIGHT),  # exchanged
        one("3.png", plain(GREEN), "0 1 0", "c", c=LEFT),
    ]
    return measure(pictures, REFERENCES, Colors(), Colors().pictures)


ROOT_HALF = 0.5**0.5


def test_clip_t_is_two_and_a_half_times_the_cosine_and_never_negative(findings: Findings) -> None:
    # 1: cos((1,0,1), (1,0,0)) = √½; 2: cos((1,0,1), (0,−1,−1)) = −½ → 0; 3: 1
    assert findings.groups[("a", "b")].clip_t == pytest.approx(2.5 * ROOT_HALF / 2)
    assert findings.groups[("c",)].clip_t == pytest.approx(2.5)
    assert findings.clip_t == pytest.approx((2.5 * ROOT_HALF / 2 + 2.5) / 2)
    assert findings.subjects.clip_t == pytest.approx((2.5 * ROOT_HALF + 0 + 2.5) / 3)


def test_clip_i_and_dino_are_means_over_all_pictures_and_references(findings: Findings) -> None:
    # both pictures of the pair: √½ with red and blue, 0 with green
    pair = {"a": ROOT_HALF / 2, "b": ROOT_HALF}
    assert findings.groups[("a", "b")].clip_i == pytest.approx(pair)
    assert findings.groups[("a", "b")].dino == pytest.approx(pair)
    assert findings.subjects.clip_i == pytest.approx({**pair, "c": 1.0})
    assert findings.clip_i == findings.dino == pytest.approx(((ROOT_HALF / 2 + ROOT_HALF) / 2 + 1) / 2)


def test_the_confusion_sees_an_exchange_that_the_means_do_not(findings: Findings) -> None:
    # regions of 1: a red: own (1 + 0) / 2, other 0; b blue: own 1, other 0. Of 2: a blue: 0, 1; b red: 0, ½.
    for confusion in findings.confusion.values():
        assert confusion is not None
        assert confusion.own == pytest.approx((0.5 + 1 + 0 + 0) / 4)
        assert confusion.other == pytest.approx((0 + 0 + 1 + 0.5) / 4)
        assert confusion.margin == pytest.approx(0.0)
        assert confusion.mistaken == Share(2, 4)


def test_the_report_has_the_same_numbers(findings: Findings) -> None:
    text = as_markdown(findings)
    assert "| a + b | 2 | 0.884 | 0.530 | 0.530 |" in text
    assert "| **all** | 3 | 1.692 | 0.765 | 0.765 |" in text
    assert "| clip | 4 | 0.375 | 0.375 | 0.000 | 0.50 [0.15, 0.85] |" in text
    assert '"clip_t": 1.69' in as_json(findings)


def test_without_regions_nothing_is_said_about_confusion(tmp_path: Path) -> None:
    plain(RED).save(tmp_path / "x.png")
    alone = [Generated("x.png", tmp_path / "x.png", "1 0 0", ("b",))]
    findings = measure(alone, {"b": [plain(RED)]}, Colors(), Colors().pictures)
    assert findings.confusion == {"clip": None, "dino": None}
    assert (findings.clip_t, findings.clip_i) == (pytest.approx(2.5), pytest.approx(1.0))  # one reference
    assert "was not measured" in as_markdown(findings)


def test_a_region_is_cut_out_of_the_picture() -> None:
    assert cut(Image.new("RGB", (40, 20)), Box(0.25, 0.5, 0.5, 0.5)).size == (20, 10)
    assert cut(Image.new("RGB", (4, 4)), Box(0.99, 0.99, 0.001, 0.001)).size == (1, 1)
