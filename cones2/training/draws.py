"""Randomness that depends on the seed and the step alone, so that resuming needs no generator state.

Every draw comes from a fresh CPU generator keyed by its purpose: the same on every device, the same
whether a run was interrupted or not.
"""

from __future__ import annotations

import hashlib

import torch


def keyed_generator(seed: int, *key: int | str) -> torch.Generator:
    """A CPU generator for one purpose: `key` names it, for instance ("noise", step)."""
    text = ":".join(str(part) for part in (seed, *key))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def data_order(seed: int, first: int, count: int, size: int) -> list[int]:
    """Entries first … first + count − 1 of an endless stream of shuffled passes over range(size)."""
    order: list[int] = []
    for position in range(first, first + count):
        cycle, offset = divmod(position, size)
        if not order or offset == 0:
            permutation = torch.randperm(size, generator=keyed_generator(seed, "order", cycle)).tolist()
        order.append(int(permutation[offset]))
    return order


def draw_timesteps(generator: torch.Generator, count: int, bounds: tuple[int, int], stratified: bool) -> torch.Tensor:
    """int64 [count], uniform over bounds[0] ≤ t < bounds[1].

    stratified: one draw from each of `count` equal parts of the range, in random order, which
    lowers the gradient's variance without biasing it.
    """
    low, high = bounds
    if not stratified:
        return torch.randint(low, high, (count,), generator=generator)
    parts = torch.randperm(count, generator=generator).double()
    inside = torch.rand(count, generator=generator, dtype=torch.float64)
    return (low + (parts + inside) / count * (high - low)).long().clamp(max=high - 1)
