"""A model of diffusers components as the training of an image adapter sees it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..concepts.cutout import CutOut
from ..errors import AdapterError
from ..picture_adapter.adapter import AdapterLayer, PictureAdapter
from ..training.adapter_batches import ImageReader
from ..training.checkpoint import weights_digest
from ..training.draws import keyed_generator
from .attention import cross_attention_layers
from .image_encoder import ImageEncoder, cutout_picture
from .latent_model import DiffusersModel


def new_adapter(model: DiffusersModel, encoder: ImageEncoder, tokens: int, seed: int) -> PictureAdapter:
    """An untrained adapter for a model: the layers' text keys and values, a random projection, no text factors.

    tokens: image tokens per picture.
    """
    features = int(encoder.network.config.projection_dim)
    generator, bound = keyed_generator(seed, "projection"), features**-0.5

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).mul(2 * bound).sub(bound)

    projection = {
        "proj.weight": drawn(tokens * model.width, features),
        "proj.bias": drawn(tokens * model.width),
        "norm.weight": torch.ones(model.width),
        "norm.bias": torch.zeros(model.width),
    }
    layers = tuple(
        AdapterLayer(_copied(attn.to_k.weight), _copied(attn.to_v.weight), None)
        for _, attn in cross_attention_layers(model.unet)
    )
    return PictureAdapter(projection, layers)


def check_start(model: DiffusersModel, adapter: PictureAdapter) -> None:
    """Raise AdapterError for an adapter to start from that was made for another model."""
    adapter.check_layers(model.cross_attention_widths)


def image_reader(encoder: ImageEncoder, adapter: PictureAdapter) -> ImageReader:
    """The encoder as the adapter reads it. Raises AdapterError for another encoder than the adapter's."""

    def read(cutout: CutOut) -> Tensor:
        return encoder.features(adapter, encoder.pixels(cutout_picture(cutout)))[0].clone()

    if adapter.is_plus:
        return ImageReader(read, encoder.features(adapter, encoder.zeros())[0].cpu().clone())
    found = int(encoder.network.config.projection_dim)
    if found != adapter.feature_width:
        raise AdapterError(
            f"this {adapter.label} reads image features {adapter.feature_width} wide, but this image encoder gives "
            f"{found}: give the image encoder it was made with"
        )
    return ImageReader(read, torch.zeros(found))


def networks_digest(model: DiffusersModel, encoder: ImageEncoder) -> str:
    """A digest of all weights that stay as they are, to refuse continuing a run with other networks."""
    networks: tuple[nn.Module, ...] = (model.unet, model.vae, model.text.encoders, encoder.network)
    return weights_digest(weight for network in networks for weight in network.state_dict().values())


def _copied(weight: Tensor) -> Tensor:
    return weight.detach().float().cpu().clone()
