"""Which regions of a layout are a concept's own."""

from __future__ import annotations

import pytest
import torch

from cones2.custom_diffusion.delta import ModifierToken
from cones2.custom_diffusion.regional import regions_of
from cones2.errors import LayoutError
from cones2.layout.regions import Layout, layout_from_masks

MINE = ModifierToken("<new1>", (torch.zeros(4),), "cat")


def layout(*subjects: str, weights: list[float] | None = None) -> Layout:
    return layout_from_masks([torch.ones(4, 4)] * len(subjects), subjects, weights)


@pytest.mark.parametrize("subject", ["<new1> cat", "<NEW1> cat", "my <new1> cat", "<new1>"])
def test_a_region_whose_phrase_has_the_token_is_the_concepts(subject: str) -> None:
    assert [region.subject for region in regions_of(layout("<new2> cat", subject), [MINE])] == [subject]


@pytest.mark.parametrize(
    ("given", "tokens", "sentence"),
    [
        (layout("cat", "<new2> cat"), [MINE], "no region for <new1> cat; it has: cat, <new2> cat"),
        (layout("<new1> cat", weights=[-1.0]), [MINE], "no region for <new1> cat"),
        (layout("cat"), [], "this concept has no token"),
    ],
)
def test_a_layout_without_one_is_refused(given: Layout, tokens: list[ModifierToken], sentence: str) -> None:
    with pytest.raises(LayoutError, match=sentence):
        regions_of(given, tokens)


@pytest.mark.parametrize("subject", ["<dog>", '"<DOG>", asleep', "my (<dog>)"])
def test_a_token_in_brackets_is_not_the_plain_word(subject: str) -> None:
    named = ModifierToken("<dog>", (torch.zeros(4),), "animal")
    assert [region.subject for region in regions_of(layout("dog", subject), [named])] == [subject]
