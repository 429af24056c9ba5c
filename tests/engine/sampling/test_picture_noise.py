"""Noise of repeated steps: each picture of a batch has its own, whatever batch it is in."""

import torch

from cones2.sampling.picture_noise import PictureNoise

SHAPE = (4, 8, 8)


def starting(count: int, seed: int = 7) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def draws(start: torch.Tensor, seed: int = 7) -> torch.Tensor:
    noise = PictureNoise(start, seed)
    return torch.stack([noise() for _ in range(3)], dim=1)


def test_the_first_picture_continues_the_generator_of_its_starting_noise() -> None:
    generator = torch.Generator().manual_seed(7)
    stream = torch.stack([torch.randn(SHAPE, generator=generator) for _ in range(4)])
    assert torch.equal(starting(1)[0], stream[0])
    assert torch.equal(draws(starting(1))[0], stream[1:])


def test_a_picture_has_the_same_noise_alone_and_in_any_order() -> None:
    together = draws(starting(3))
    for index in range(3):
        assert torch.equal(draws(starting(3)[index : index + 1])[0], together[index])
    assert torch.equal(draws(starting(3).flip(0)), together.flip(0))


def test_pictures_of_a_batch_have_different_noise() -> None:
    first, second, third = draws(starting(3))
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_noise_never_repeats_the_starting_noise_of_its_own_picture() -> None:
    start = starting(3)
    assert not any(torch.allclose(noise, start[index]) for index in range(3) for noise in draws(start)[index])


def test_rounded_starting_noise_is_recognized() -> None:
    assert torch.equal(draws(starting(1).bfloat16().float()), draws(starting(1)))


def test_without_starting_noise_the_seed_decides() -> None:
    silent = torch.zeros(2, *SHAPE)
    assert torch.equal(draws(silent)[0], draws(starting(1))[0]) and torch.equal(draws(silent)[1], draws(silent)[0])
    assert not torch.equal(draws(silent), draws(silent, seed=8))


def test_another_seed_is_other_noise_for_every_picture() -> None:
    assert not torch.equal(draws(starting(2)), draws(starting(2), seed=8))
