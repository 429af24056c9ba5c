"""The attention layers of a diffusers UNet as the peers change them; installed for a run, always taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]

DENSE_SHARE = 0.3  # of the steps, from the first on
DENSE_CROSS, DENSE_SELF = 1.0, 0.3


class Attention:
    """What happens in the layers; plain attention unless a subclass says otherwise.

    Called with the queries of the positive entries q [B, heads, N, d]; keys and values are k, v [B, heads, M, d].
    """

    def at(self, progress: float, time: float) -> None:
        """A pass begins. progress: share of the steps that are done. time: of the training timesteps, 0–1."""

    def cross(self, attn: Any, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Attention from picture to text: [B, heads, N, d]."""
        return F.scaled_dot_product_attention(q, k, v)

    def own(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Attention within the picture: [B, heads, N, d]."""
        return F.scaled_dot_product_attention(q, k, v)


Plain = Attention


class Couple(Attention):
    """Each position attends to its own region's prompt.

    prompts: a conditioning [B, L, d] per region, the last for what no region has.
    owners: for a layer's grid, [B, N] in 0/1 per region, adding up to 1.
    """

    def __init__(self, prompts: Sequence[Tensor], owners: Callable[[Grid], Sequence[Tensor]]) -> None:
        self._prompts, self._owners = prompts, _remembered(owners)

    def cross(self, attn: Any, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        total = torch.zeros_like(q)
        for prompt, owner in zip(self._prompts, self._owners(grid), strict=True):
            keys, values = (split(part(prompt), attn.heads) for part in (attn.to_k, attn.to_v))
            total += F.scaled_dot_product_attention(q, keys, values) * owner.to(q)[:, None, :, None]
        return total


class Dense(Attention):
    """DenseDiffusion: scores within a segment move to their row's greatest, the others to its least.

    tokens: for a grid, bool [B, N, L]: token of the position's segment. segments: bool [B, N, N]: same segment.
    """

    def __init__(self, tokens: Callable[[Grid], Tensor], segments: Callable[[Grid], Tensor]) -> None:
        self._tokens, self._segments = _remembered(tokens), _remembered(segments)
        self._strength = 0.0

    def at(self, progress: float, time: float) -> None:
        self._strength = time**5 if progress < DENSE_SHARE else 0.0

    def cross(self, attn: Any, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        return self._moved(q, k, v, self._tokens(grid), DENSE_CROSS, grid)

    def own(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        return self._moved(q, k, v, self._segments(grid), DENSE_SELF, grid)

    def _moved(self, q: Tensor, k: Tensor, v: Tensor, together: Tensor, weight: float, grid: Grid) -> Tensor:
        if not self._strength:
            return F.scaled_dot_product_attention(q, k, v)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        share = self._segments(grid).to(q).mean(-1)[:, None, :, None]  # of the picture that a position's segment has
        factor = weight * self._strength * (1 - share)
        up, down = scores.amax(-1, keepdim=True) - scores, scores - scores.amin(-1, keepdim=True)
        moved: Tensor = scores + factor * torch.where(together[:, None].to(q.device), up, -down)
        return moved.softmax(-1) @ v


def split(x: Tensor, heads: int) -> Tensor:
    """[B, N, heads · d] as [B, heads, N, d]."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


class _Processor:
    """A diffusers attention processor whose entries from `positive` on follow `attention`."""

    def __init__(self, attention: Attention, positive: slice) -> None:
        self._attention, self._positive = attention, positive

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            split(part(x), attn.heads)
            for part, x in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        side = round(q.shape[2] ** 0.5)
        mine = self._positive
        rest = slice(None, mine.start)
        if encoder_hidden_states is None:
            changed = self._attention.own(q[mine], k[mine], v[mine], (side, side))
        else:
            changed = self._attention.cross(attn, q[mine], k[mine], v[mine], (side, side))
        out = torch.cat([F.scaled_dot_product_attention(q[rest], k[rest], v[rest]), changed])
        result: Tensor = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        return result


@contextmanager
def replaced(unet: nn.Module, attention: Attention, positive: slice) -> Iterator[None]:
    """All attention layers of a UNet on square latents follow `attention` while in the block."""
    network: Any = unet
    originals = dict(network.attn_processors)
    try:
        network.set_attn_processor(_Processor(attention, positive))
        yield
    finally:
        network.set_attn_processor(originals)


def _remembered(make: Callable[[Grid], Any]) -> Callable[[Grid], Any]:
    known: dict[Grid, Any] = {}

    def get(grid: Grid) -> Any:
        if grid not in known:
            known[grid] = make(grid)
        return known[grid]

    return get
