"""A fingerprint of the text encoder, read off any conditioning that it makes."""

from __future__ import annotations

import torch
from torch import Tensor

from .residual import Residual

FINGERPRINT_KEY = "encoder_anchor"
"""Key of a residual's metadata that holds the fingerprint of the encoder it was trained with."""

_COUNT = 16
_TOLERANCE = 0.02  # relative L2: rounding to half precision changes less, another encoder or layer far more


def encoder_fingerprint(conditioning: Tensor) -> str:
    """16 numbers of the start token's row, as residual metadata holds them.

    conditioning: [..., L, d] of any prompt. The start token sees no other token, so its row depends
    only on the encoder, and on the layer it is read from.
    """
    return " ".join(f"{value:.4g}" for value in _values(conditioning).tolist())


def from_other_encoder(residual: Residual, conditioning: Tensor) -> bool | None:
    """Whether the residual was trained with another text encoder, or another layer of it, than the
    one that made this conditioning [..., L, d]; None when its metadata holds no fingerprint."""
    try:
        known = torch.tensor([float(part) for part in residual.metadata.get(FINGERPRINT_KEY, "").split()])
    except ValueError:
        return None
    here = _values(conditioning)
    if known.shape != here.shape or not torch.isfinite(known).all():
        return None
    return float((known - here).norm()) > _TOLERANCE * float(here.norm())


def _values(conditioning: Tensor) -> Tensor:
    row = conditioning.reshape(-1, *conditioning.shape[-2:])[0, 0].float().cpu()
    return row[torch.linspace(0, row.shape[0] - 1, _COUNT).long()]
