"""Whether an attention function, such as another node's override, can do what a layout asks of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from comfy.ldm.modules import attention as host_attention
from torch import Tensor

from ....cones2.guidance.features import FEATURE_MULTIPLE, SCORE_LIMIT
from ....cones2.messages import shown

log = logging.getLogger(__name__)

Attend = Callable[..., Tensor]

_TOLERANCE = 0.05  # of values of unit size: far above the rounding of half precision, far below a dropped mask
_TOKENS = 16


class Trust:
    """Which attention functions steered calls may use. Each is tried once per kind of call; a run has its own."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], bool] = {}
        self._named: set[str] = set()

    def choose(self, attend: Attend, name: str, q: Tensor, joint: bool) -> Attend:
        """`attend`, or PyTorch's attention where it fails; the log says so once.

        q: [..., d], of the calls to come; joint: whether they have features, otherwise a mask.
        """
        key = (name, joint, q.dtype, q.device, q.shape[-1])
        if key not in self._found:
            probe = _keeps_features if joint else _keeps_masks
            self._found[key] = _passes(probe, attend, q)
        if self._found[key]:
            return attend
        if name not in self._named:
            self._named.add(name)
            log.warning(
                'the attention function "%s" drops masks or rounds too coarsely for a layout, so the calls that a '
                "layout steers use PyTorch's attention instead",
                shown(name),
            )
        plain: Attend = host_attention.attention_pytorch
        return plain


def name_of(function: Any) -> str:
    """What a function is called, for a message; objects that are called by the name of their class."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}"


def _passes(probe: Callable[[Attend, Tensor, Tensor, Tensor], Tensor], attend: Attend, like: Tensor) -> bool:
    """Whether attention that may not read the second half of the keys gives what the first half gives alone."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, 2, _TOKENS, like.shape[-1])
    q, k, v = torch.randn(shape, generator=generator).to(like)
    half = _TOKENS // 2
    expected = F.scaled_dot_product_attention(q.float(), k[:, :, :half].float(), v[:, :, :half].float())
    try:
        found = probe(attend, q, k, v)
    except Exception:  # whatever another node raises, it is not to be used
        return False
    return bool(((found.float() - expected).abs() < _TOLERANCE).all())


def _keeps_masks(attend: Attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mask = q.new_zeros(1, 1, _TOKENS, _TOKENS)
    mask[..., _TOKENS // 2 :] = -SCORE_LIMIT * q.shape[-1] ** -0.5
    return _call(attend, q, k, v, mask=mask)


def _keeps_features(attend: Attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    width = q.shape[-1]
    closed, marks = (q.new_zeros(1, 2, _TOKENS, FEATURE_MULTIPLE) for _ in range(2))
    closed[..., 0] = -SCORE_LIMIT
    marks[:, :, _TOKENS // 2 :, 0] = 1
    q, k = torch.cat([q, closed], -1), torch.cat([k, marks], -1)
    return _call(attend, q, k, F.pad(v, (0, FEATURE_MULTIPLE)), scale=width**-0.5)[..., :width]


def _call(attend: Attend, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    return attend(
        q, k, v, q.shape[1], skip_reshape=True, skip_output_reshape=True, transformer_options={},
        _inside_attn_wrapper=True, **options,
    )  # fmt: skip
