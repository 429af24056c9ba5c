"""Cones 2 (arXiv 2305.19327): several specific subjects in one picture, each where it was painted.

The names below are the front door; each is imported when it is first used, so that importing `cones2` is
cheap and needs neither diffusers nor transformers.

    from cones2 import Box, SamplingSettings, compose, layout_from_boxes, load_model, load_residual, to_images
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .concepts.cutout import CutOut as CutOut
    from .concepts.cutout import cut_out as cut_out
    from .concepts.pictured import PicturedSubject as PicturedSubject
    from .concepts.residual import Residual as Residual
    from .concepts.residual_file import load_residual as load_residual
    from .concepts.residual_file import save_residual as save_residual
    from .diffusers_models.image_encoder import load_image_encoder as load_image_encoder
    from .diffusers_models.image_encoder import references_of as references_of
    from .diffusers_models.latent_model import to_images as to_images
    from .diffusers_models.loading import load_model as load_model
    from .errors import AdapterError as AdapterError
    from .errors import CheckpointError as CheckpointError
    from .errors import Cones2Error as Cones2Error
    from .errors import ConfigError as ConfigError
    from .errors import LayoutError as LayoutError
    from .errors import ModelError as ModelError
    from .errors import PromptError as PromptError
    from .errors import ResidualError as ResidualError
    from .layout.document import LayoutDocument as LayoutDocument
    from .layout.document import load_document as load_document
    from .layout.document import parse_document as parse_document
    from .layout.drawing import layout_picture as layout_picture
    from .layout.painted import ColorEntry as ColorEntry
    from .layout.painted import layout_from_colors as layout_from_colors
    from .layout.regions import Box as Box
    from .layout.regions import Layout as Layout
    from .layout.regions import layout_from_boxes as layout_from_boxes
    from .layout.regions import layout_from_masks as layout_from_masks
    from .picture_adapter.adapter_file import load_adapter as load_adapter
    from .picture_adapter.shares import region_shares as region_shares
    from .presets import PRESETS as PRESETS
    from .prompt.claims import locate_subjects as locate_subjects
    from .rules import GuidanceSettings as GuidanceSettings
    from .sampling.settings import SamplingSettings as SamplingSettings
    from .scene import compose as compose

_HOMES = {
    "AdapterError": "errors",
    "Box": "layout.regions",
    "CheckpointError": "errors",
    "ColorEntry": "layout.painted",
    "Cones2Error": "errors",
    "ConfigError": "errors",
    "CutOut": "concepts.cutout",
    "GuidanceSettings": "rules",
    "Layout": "layout.regions",
    "LayoutDocument": "layout.document",
    "LayoutError": "errors",
    "ModelError": "errors",
    "PicturedSubject": "concepts.pictured",
    "PromptError": "errors",
    "PRESETS": "presets",
    "Residual": "concepts.residual",
    "ResidualError": "errors",
    "SamplingSettings": "sampling.settings",
    "compose": "scene",
    "cut_out": "concepts.cutout",
    "layout_from_boxes": "layout.regions",
    "layout_from_colors": "layout.painted",
    "layout_from_masks": "layout.regions",
    "layout_picture": "layout.drawing",
    "load_adapter": "picture_adapter.adapter_file",
    "load_document": "layout.document",
    "load_image_encoder": "diffusers_models.image_encoder",
    "load_model": "diffusers_models.loading",
    "load_residual": "concepts.residual_file",
    "locate_subjects": "prompt.claims",
    "parse_document": "layout.document",
    "references_of": "diffusers_models.image_encoder",
    "region_shares": "picture_adapter.shares",
    "save_residual": "concepts.residual_file",
    "to_images": "diffusers_models.latent_model",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
