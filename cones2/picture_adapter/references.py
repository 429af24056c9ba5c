"""Subjects as an adapter's layers see them: image tokens, the names' text, and what each layer makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import AdapterError
from ..messages import listed
from ..prompt.claims import PhraseRef
from ..prompt.tokens import CHUNK_CONTENT
from .adapter import PictureAdapter
from .projection import project
from .shares import RegionShares

MAX_REFERENCES = 16
"""Subjects of one scene."""


@dataclass(frozen=True, eq=False)
class Reference:
    """One subject with pictures.

    subject: its phrase.
    features: of its pictures as the image encoder gives them, [pictures, …].
    name_rows: the phrase encoded alone, without start and end token: [n, d] of the model's text conditioning.
    strength: factor on what its pictures add.
    """

    subject: PhraseRef
    features: Tensor
    name_rows: Tensor
    strength: float = 1.0


@dataclass(frozen=True, eq=False)
class LayerPictures:
    """What one cross-attention layer of width C attends to, for k subjects with T image tokens each.

    keys, values: [k + 1, T, C] float32; the last is the unconditional picture.
    text_to_weight: t of the text factor, [C] float32; None for none.
    """

    keys: Tensor
    values: Tensor
    text_to_weight: Tensor | None

    def to(self, device: torch.device, dtype: torch.dtype) -> LayerPictures:
        """The same where and as a layer computes."""
        factor = None if self.text_to_weight is None else self.text_to_weight.to(device)
        return LayerPictures(self.keys.to(device, dtype), self.values.to(device, dtype), factor)


@dataclass(frozen=True, eq=False)
class References:
    """The subjects of one scene that have pictures, ready for sampling.

    subjects: their phrases. name_rows: per subject [n, d]. strengths: per subject.
    layers: in the adapter's order.
    scale: factor on all that pictures add; 0 adds nothing.
    shares: where each subject's pictures count; None: where its name attends, as published.
    """

    subjects: tuple[PhraseRef, ...]
    name_rows: tuple[Tensor, ...]
    strengths: tuple[float, ...]
    layers: tuple[LayerPictures, ...]
    scale: float
    shares: RegionShares | None = None

    @property
    def adds_nothing(self) -> bool:
        """Whether sampling with it equals sampling without."""
        return self.scale == 0 or not any(self.strengths)


def make_references(
    adapter: PictureAdapter,
    references: Sequence[Reference],
    zero_features: Tensor,
    scale: float,
    shares: RegionShares | None = None,
) -> References:
    """What an adapter makes of the subjects.

    zero_features: [1, …], the encoder's features of zero pixel values after normalization; a linear projection
    ignores them and takes zeros.
    Raises AdapterError for features of another encoder, no subjects, more than 16, or pictures of one subject that
    are another's too.
    """
    _check(references)
    tokens = [project(adapter, reference.features).mean(0) for reference in references]
    unconditional = zero_features if adapter.is_plus else torch.zeros(1, adapter.feature_width)
    stacked = torch.stack([*tokens, project(adapter, unconditional)[0].to(tokens[0].device)])
    return References(
        tuple(reference.subject for reference in references),
        tuple(reference.name_rows for reference in references),
        tuple(reference.strength for reference in references),
        layer_pictures(adapter, stacked),
        scale,
        shares,
    )


def layer_pictures(adapter: PictureAdapter, tokens: Tensor) -> tuple[LayerPictures, ...]:
    """Keys and values of image tokens [k + 1, T, d] in each layer, the unconditional ones last."""
    return tuple(
        LayerPictures(
            F.linear(tokens, layer.to_k.to(tokens)),
            F.linear(tokens, layer.to_v.to(tokens)),
            None if layer.text_to_weight is None else layer.text_to_weight.float(),
        )
        for layer in adapter.layers
    )


def _check(references: Sequence[Reference]) -> None:
    if not references:
        raise AdapterError("no subject has a picture: connect Subject from Pictures, or a residual with photos")
    if len(references) > MAX_REFERENCES:
        raise AdapterError(f"{len(references)} subjects have pictures: at most {MAX_REFERENCES} are taken")
    for number, one in enumerate(references):
        if not 1 <= len(one.name_rows) <= CHUNK_CONTENT:
            raise AdapterError(
                f'the name "{one.subject}" has {len(one.name_rows)} tokens: 1 to {CHUNK_CONTENT} are read'
            )
        for other in references[:number]:
            if _same(one.features, other.features):
                names = listed([str(other.subject), str(one.subject)])
                raise AdapterError(f"two subjects ({names}) have the same picture: each needs its own")


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether any picture of one equals any of the other."""
    pairs = ((first, second) for first in one for second in other)
    return any(first.shape == second.shape and torch.equal(first, second) for first, second in pairs)
