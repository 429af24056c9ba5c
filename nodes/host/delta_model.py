"""Custom Diffusion on the host's MODEL: patches of its attention weights, which stay as they are themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ...cones2.custom_diffusion.delta import Delta
from ...cones2.custom_diffusion.fit import check_fits
from ...cones2.custom_diffusion.layers import compvis_name, plain_name
from ...cones2.custom_diffusion.regional import own_projections, regions_of
from ...cones2.errors import ModelError
from ...cones2.guidance.regional import RegionalProjections
from ...cones2.layout.regions import Layout
from .attention.regions import install_regions

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

_PREFIX = "diffusion_model."


def layers_per_block(model: ModelPatcher) -> int:
    """Of the UNet. Raises ModelError for a model without one."""
    config = model.model.model_config.unet_config
    blocks = config.get("num_res_blocks")
    if blocks is None:
        kind = type(model.model.model_config).__name__
        raise ModelError(f"this model is {kind}: Custom Diffusion needs an SD 1.x, SD 2.x or SDXL model")
    return int(blocks if isinstance(blocks, int) else blocks[0])


def base_weights(model: ModelPatcher) -> dict[str, Tensor]:
    """The cross-attention weights of the checkpoint by diffusers name, without any patches."""
    per_block = layers_per_block(model)
    patches = model.get_key_patches(_PREFIX)
    return {
        name: entry[0][0].detach().cpu()
        for key, entry in patches.items()
        if (name := plain_name(key, per_block)) is not None
    }


def with_delta(model: ModelPatcher, delta: Delta, strength: float) -> ModelPatcher:
    """The model with the delta's differences as patches, so that LoRAs and other deltas add to them.

    Raises DeltaError for a delta of another model, also at strength 0, which gives the model itself.
    """
    base = base_weights(model)
    check_fits(delta, base)
    if not strength or not delta.weights:
        return model
    per_block = layers_per_block(model)
    patches = {
        compvis_name(name, per_block).removeprefix("model."): ("diff", (change.difference(base[name]),))
        for name, change in delta.weights.items()
    }
    patched = model.clone()
    taken = set(patched.add_patches(patches, strength))
    lost = [key for key in patches if key not in taken]
    if lost:
        raise ModelError(f"the host did not take {len(lost)} of {len(patches)} weights, such as {lost[0]}")
    return patched


def with_delta_in_regions(model: ModelPatcher, delta: Delta, strength: float, layout: Layout) -> ModelPatcher:
    """The model in which the delta's keys and values act in the regions that name its tokens, and nowhere else.

    Raises DeltaError for a delta of another model, LayoutError for a layout without such a region; strength 0 gives the
    model itself.
    """
    base = base_weights(model)
    check_fits(delta, base)
    regions = regions_of(layout, delta.tokens)
    if not strength or not delta.weights:
        return model
    layers = own_projections(delta, base, strength)
    return install_regions(model, [RegionalProjections(region.mask, layers) for region in regions])
