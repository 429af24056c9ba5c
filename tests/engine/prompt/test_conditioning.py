"""Conditionings of several prompts."""

from __future__ import annotations

import torch

from cones2.prompt.conditioning import Conditioning, together


def test_shorter_prompts_are_filled_up_and_know_their_length() -> None:
    found = together(
        [Conditioning(torch.ones(1, 2, 3), torch.ones(1, 4)), Conditioning(torch.ones(1, 5, 3), torch.ones(1, 4))]
    )
    assert found.embeds.shape == (2, 5, 3) and found.embeds[0, 2:].abs().sum() == 0
    assert found.lengths == (2, 5) and found.pooled is not None and found.pooled.shape == (2, 4)
    assert found.select([1, 0, 0]).lengths == (5, 2, 2)
    assert together([found.select([1])]).lengths is None


def test_prompts_of_one_length_are_as_they_were() -> None:
    found = together([Conditioning(torch.ones(1, 2, 3)), Conditioning(torch.zeros(1, 2, 3))])
    assert found.embeds.shape == (2, 2, 3) and found.lengths is None and found.pooled is None
