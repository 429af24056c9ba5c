"""Latents as quick pictures, also where the host's previews of sampling are off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import latent_preview

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher


def previewer_of(model: ModelPatcher) -> latent_preview.LatentPreviewer | None:
    """The host's latent previewer; where sampling previews are disabled the one that mixes latents to colors, since
    somebody asked for a picture. None for latents whose colors are unknown.
    """
    latents = model.model.latent_format
    chosen = latent_preview.get_previewer(model.load_device, latents)
    if chosen is not None or latents.latent_rgb_factors is None:
        return chosen
    return latent_preview.Latent2RGBPreviewer(
        latents.latent_rgb_factors, latents.latent_rgb_factors_bias, latents.latent_rgb_factors_reshape
    )
