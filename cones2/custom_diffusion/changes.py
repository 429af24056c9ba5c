"""What is done to one weight: a new whole, a difference, or a difference of low rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Whole:
    """A weight that replaces the base's: what training writes.

    tensor: [out, in], or [out] for a bias.
    """

    tensor: Tensor

    @property
    def shape(self) -> torch.Size:
        """Of the weight."""
        return self.tensor.shape

    def parts(self) -> Mapping[str, Tensor]:
        """The stored tensors by what they are."""
        return {"whole": self.tensor}

    def difference(self, base: Tensor) -> Tensor:
        """What it adds to the base's weight, float32."""
        return self.tensor.to(base.device, torch.float32) - base.float()

    def applied(self, base: Tensor, strength: float = 1.0) -> Tensor:
        """The base's weight at this strength: all of the new one at 1."""
        if strength == 1:
            return self.tensor.to(base.device, base.dtype)
        return (base.float() + strength * self.difference(base)).to(base.dtype)


@dataclass(frozen=True, eq=False)
class Difference:
    """What is added to the base's weight.

    tensor: [out, in], or [out] for a bias.
    """

    tensor: Tensor

    @property
    def shape(self) -> torch.Size:
        """Of the weight."""
        return self.tensor.shape

    def parts(self) -> Mapping[str, Tensor]:
        """The stored tensors by what they are."""
        return {"difference": self.tensor}

    def difference(self, base: Tensor) -> Tensor:
        """What it adds to the base's weight, float32."""
        return self.tensor.to(base.device, torch.float32)

    def applied(self, base: Tensor, strength: float = 1.0) -> Tensor:
        """The base's weight with so much of the difference."""
        return (base.float() + strength * self.difference(base)).to(base.dtype)


@dataclass(frozen=True, eq=False)
class LowRank:
    """A difference as a product, as compression leaves it.

    up: [out, r], the singular values included. down: [r, in]. r may be 0.
    """

    up: Tensor
    down: Tensor

    @property
    def shape(self) -> torch.Size:
        """Of the weight."""
        return torch.Size([*self.up.shape[:-1], *self.down.shape[1:]])

    @property
    def rank(self) -> int:
        """Of the difference."""
        return int(self.down.shape[0])

    def parts(self) -> Mapping[str, Tensor]:
        """The stored tensors by what they are."""
        return {"up": self.up, "down": self.down}

    def difference(self, base: Tensor) -> Tensor:
        """What it adds to the base's weight, float32."""
        return self.up.to(base.device, torch.float32) @ self.down.to(base.device, torch.float32)

    def applied(self, base: Tensor, strength: float = 1.0) -> Tensor:
        """The base's weight with so much of the difference."""
        return (base.float() + strength * self.difference(base)).to(base.dtype)


Change = Whole | Difference | LowRank
"""One weight's change. `applied` gives the base's own bits at strength 0 to whoever asks for them."""

_KINDS = {Whole: "whole weights", Difference: "differences", LowRank: "low rank"}


def change_kind(change: Change) -> str:
    """What it is, for people."""
    return _KINDS[type(change)]


def from_parts(parts: Mapping[str, Tensor]) -> Change | None:
    """The change that `parts()` names; None for other names, or shapes that do not make a product."""
    match parts:
        case {"whole": tensor} if len(parts) == 1:
            return Whole(tensor)
        case {"difference": tensor} if len(parts) == 1:
            return Difference(tensor)
        case {"up": up, "down": down} if len(parts) == 2:
            return low_rank(up, down)
    return None


def low_rank(up: Tensor, down: Tensor) -> LowRank | None:
    """The product; None for tensors that do not make one."""
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0]:
        return None
    return LowRank(up, down)
