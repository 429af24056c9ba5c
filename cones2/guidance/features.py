"""Layout guidance on joint attention: the term of Cones 2 as extra features of queries and keys.

Where text and picture are one sequence, the term has one column per subject: cell i gains u[i, r] on the tokens of
subject r. That is the product of two thin matrices, so queries [q | u] and keys [k | m], with m[j, r] = 1 for the
tokens j of subject r, have the guided scores, exactly, in one attention call without a mask of all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SCORE_LIMIT = 2.0**14
"""Raw scores stay within ± this: exact in every precision, and 0 after the softmax. float16's largest number is not:
it gives NaN where a backend adds to it."""

FEATURE_MULTIPLE = 8  # attention kernels want widths that are multiples of it


@dataclass(frozen=True, eq=False)
class Gains:
    """What some cells gain on some tokens, before the scores are scaled by d_head^-½.

    cells: [B, N, R] float32, within ±SCORE_LIMIT; column r belongs to the r-th group of tokens.
    tokens: the token indices of each group, ascending; groups are disjoint.
    """

    cells: Tensor
    tokens: tuple[Sequence[int], ...]

    def mask(self, length: int, scale: float, dtype: torch.dtype) -> Tensor:
        """The same change as an attention mask [B, 1, N, length] for scores that are scaled by `scale`."""
        mask = self.cells.new_zeros(*self.cells.shape[:2], length)
        for column, group in enumerate(self.tokens):
            for run in runs(group):
                mask[..., run] = self.cells[..., column, None] * scale
        return mask[:, None].to(dtype)


class Placed(NamedTuple):
    """Gains at their place in a joint attention call.

    batch: the batch entries that they change. cell, token: where cells and tokens start among queries and keys.
    """

    gains: Gains
    batch: slice
    cell: int
    token: int


class Closing(NamedTuple):
    """The other direction: tokens do not read cells on which gains take something away.

    gains: of cells on the tokens; what is above 0 counts for nothing here. batch, cell, token: as in `Placed`.
    apart: the groups of tokens do not read each other either.
    """

    gains: Gains
    batch: slice
    cell: int
    token: int
    apart: bool = False


class Extended(NamedTuple):
    """Queries, keys and values [B, heads, T, d + F] with features; the values' are 0 and are cut off afterwards."""

    q: Tensor
    k: Tensor
    v: Tensor


def with_features(
    q: Tensor, k: Tensor, v: Tensor, placed: Sequence[Placed], closings: Sequence[Closing] = ()
) -> Extended:
    """Queries, keys and values [B, heads, T, d] with the gains as features, and with what is closed as further ones.

    Attention over them must scale scores by d^-½ of the original d. Gains of the same batch entries use columns of
    their own. Values are padded too: fast attention kernels want one width.
    """
    width = _feature_width([*placed, *closings])
    queries, keys = q.new_zeros(len(q), 1, q.shape[2], width), k.new_zeros(len(k), 1, k.shape[2], width)
    used: dict[tuple[int | None, int | None], int] = {}
    for gains, batch, cell, token in placed:
        first = used.get((batch.start, batch.stop), 0)
        used[batch.start, batch.stop] = last = first + gains.cells.shape[-1]
        queries[batch, 0, cell : cell + gains.cells.shape[1], first:last] = gains.cells.to(q)
        for column, group in enumerate(gains.tokens):
            for run in runs(group, token):
                keys[batch, 0, run, first + column] = 1
    for gains, batch, cell, token, apart in closings:
        first = used.get((batch.start, batch.stop), 0)
        used[batch.start, batch.stop] = last = first + gains.cells.shape[-1]
        keys[batch, 0, cell : cell + gains.cells.shape[1], first:last] = gains.cells.clamp(max=0).to(k)
        for column, group in enumerate(gains.tokens):
            for run in runs(group, token):
                queries[batch, 0, run, first + column] = 1
                if apart:
                    keys[batch, 0, run, first:last] = -SCORE_LIMIT
                    keys[batch, 0, run, first + column] = 0
    return Extended(_beside(q, queries), _beside(k, keys), F.pad(v, (0, width)))


def runs(indices: Sequence[int], offset: int = 0) -> list[slice]:
    """Ascending indices, moved by an offset, as slices: a list of them would be copied to the device in every layer."""
    if isinstance(indices, range):
        return [slice(indices.start + offset, indices.stop + offset)]
    found: list[slice] = []
    for index in indices:
        if found and found[-1].stop == index + offset:
            found[-1] = slice(found[-1].start, index + offset + 1)
        else:
            found.append(slice(index + offset, index + offset + 1))
    return found


def _feature_width(changes: Sequence[Placed | Closing]) -> int:
    columns: dict[tuple[int | None, int | None], int] = {}
    for change in changes:
        key = (change.batch.start, change.batch.stop)
        columns[key] = columns.get(key, 0) + change.gains.cells.shape[-1]
    return -(-max(columns.values(), default=0) // FEATURE_MULTIPLE) * FEATURE_MULTIPLE


def _beside(x: Tensor, features: Tensor) -> Tensor:
    return torch.cat([x, features.expand(-1, x.shape[1], -1, -1)], dim=-1)
