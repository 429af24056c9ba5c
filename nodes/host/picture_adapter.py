"""Subjects' pictures through the host's CLIP vision model and an adapter's weights, for a MODEL."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch
from torch import Tensor

from ...cones2.concepts.pictured import Pictured, PicturedSubject, on_white, with_pictures
from ...cones2.errors import AdapterError, LayoutError, ModelError
from ...cones2.layout.regions import Layout
from ...cones2.messages import listed
from ...cones2.picture_adapter.adapter import PictureAdapter
from ...cones2.picture_adapter.adapter_file import adapter_of
from ...cones2.picture_adapter.projection import check_features
from ...cones2.picture_adapter.references import Reference, References, make_references
from ...cones2.picture_adapter.shares import RegionShares, region_shares
from .attention.pictures import adapter_layers
from .prompt_record import read_prompt

if TYPE_CHECKING:
    from comfy.clip_vision import ClipVisionModel
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP

log = logging.getLogger(__name__)


def references_for(
    model: ModelPatcher,
    clip: CLIP,
    ipadapter: object,
    clip_vision: ClipVisionModel | None,
    subjects: Sequence[Pictured],
    scale: float,
    shares: RegionShares | None,
) -> References:
    """The subjects that have pictures, for sampling with the model.

    ipadapter: what sockets IPADAPTER carry: {"image_proj", "ip_adapter"}, or the pipeline of a unified loader.
    Raises AdapterError or ModelError when adapter, encoders and model do not belong together.
    """
    pictured = with_pictures(subjects)
    adapter = adapter_of(_bare(ipadapter))
    width = adapter_layers(model, adapter)
    vision = clip_vision if clip_vision is not None else _own_vision(ipadapter)
    if not hasattr(vision, "encode_image"):
        raise AdapterError(f"clip_vision is a {type(vision).__name__}, not a CLIP vision model: use Load CLIP Vision")
    references = [
        Reference(
            subject.reference, _features(vision, adapter, subject), _name_rows(clip, subject, width), subject.strength
        )
        for subject in pictured
    ]
    if not adapter.has_text_factor:
        log.warning("this is a plain %s: it has no learned text factor, which is left out", adapter.label)
    return make_references(adapter, references, _zero_features(vision, adapter), scale, shares)


def shares_for(layout: Layout | None, subjects: Sequence[Pictured], edge: float, outside: float) -> RegionShares | None:
    """Where the subjects' pictures count; None without a layout. Raises LayoutError for one of other subjects."""
    if layout is None:
        return None
    names = [subject.reference for subject in with_pictures(subjects)]
    shares = region_shares(layout, names, edge, outside)
    if shares is None:
        raise LayoutError(
            f"the layout has no region for a subject with pictures ({listed(list(map(str, names)))}); its regions are: "
            f"{listed(layout.subjects)}"
        )
    return shares


def _bare(ipadapter: object) -> object:
    """The weights of an IPADAPTER socket of any loader."""
    if isinstance(ipadapter, Mapping) and isinstance(ipadapter.get("ipadapter"), Mapping):
        return ipadapter["ipadapter"].get("model")
    return ipadapter


def _own_vision(ipadapter: object) -> Any:
    """The image encoder that a unified loader brings."""
    brought = ipadapter.get("clipvision") if isinstance(ipadapter, Mapping) else None
    vision = brought.get("model") if isinstance(brought, Mapping) else None
    if vision is None:
        raise AdapterError("no CLIP vision model is connected: load the image encoder that the adapter was made with")
    return vision


def _features(vision: Any, adapter: PictureAdapter, subject: PicturedSubject) -> Tensor:
    """Of each of the subject's pictures."""
    found = []
    for cutout in subject.cutouts:
        output = vision.encode_image(on_white(cutout).permute(1, 2, 0)[None])
        features = output.penultimate_hidden_states if adapter.is_plus else output.image_embeds
        found.append(_checked(adapter, features))
    return torch.cat(found)


def _zero_features(vision: Any, adapter: PictureAdapter) -> Tensor:
    """Of zero pixel values, which no picture gives after the host's preprocessing."""
    if not adapter.is_plus:
        return torch.zeros(1, adapter.feature_width)
    comfy.model_management.load_model_gpu(vision.patcher)
    pixels = torch.zeros(1, 3, vision.image_size, vision.image_size, device=vision.load_device)
    return _checked(adapter, vision.model(pixel_values=pixels, intermediate_output=-2)[1])


def _checked(adapter: PictureAdapter, features: Tensor) -> Tensor:
    plain = features.detach().to("cpu", torch.float32)
    if plain.ndim != (3 if adapter.is_plus else 2):
        raise AdapterError("this CLIP vision model does not give the features of a CLIP image encoder")
    check_features(adapter, plain)
    return plain


def _name_rows(clip: CLIP, subject: PicturedSubject, width: int) -> Tensor:
    """The subject's phrase encoded alone, without start and end token: [n, d]."""
    record, tokens = read_prompt(clip, subject.reference.phrase)
    rows: Tensor = clip.encode_from_tokens(tokens)
    if rows.shape[-1] != width:
        raise ModelError(
            f"the CLIP gives text {rows.shape[-1]} wide but the model reads {width}: connect the CLIP of this model"
        )
    return rows[0, [token.index for token in record.tokens.tokens]].detach().to("cpu", torch.float32)
