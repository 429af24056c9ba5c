"""An image adapter as a training method: its projection, keys, values and text factors (arXiv 2409.17920)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..guidance.terms import AttentionPass
from ..picture_adapter.adapter import AdapterLayer, PictureAdapter
from ..picture_adapter.joint import JointPictures
from ..picture_adapter.projection import project
from ..prompt.conditioning import Conditioning
from .adapter_batches import AdapterBatch, Kept
from .config import TrainingConfig
from .draws import keyed_generator
from .methods import LearningMethod, Terms
from .model import TrainingModel
from .objective import masked_mse


class AdapterMethod(LearningMethod):
    """Train an image adapter from `start`; the model itself stays as it is.

    Loss: mean squared error of the noise, of all references at scale 1. A start without text factors gets random ones
    (a linear layer's usual start), as published.
    """

    def __init__(self, model: TrainingModel, config: TrainingConfig, start: PictureAdapter) -> None:
        super().__init__()
        self.model, self.config, self._head_width = model, config, start.head_width
        self._names = tuple(start.projection)
        layers = [_with_factor(layer, config.seed, place) for place, layer in enumerate(start.layers)]
        self.projection = nn.ParameterList(
            nn.Parameter(_own(weight, model), requires_grad=config.learn_projection)
            for weight in start.projection.values()
        )
        self.to_k, self.to_v, self.factors = (
            nn.ParameterList(nn.Parameter(_own(part, model)) for part in parts)
            for parts in zip(*layers, strict=True)
        )  # fmt: skip
        self._kept = Kept()
        self._start = [parameter.detach().cpu().clone() for parameter in self.parameters()]

    def forward(self, batch: AdapterBatch) -> tuple[Tensor, Terms]:
        """The loss of one micro-batch: [] and its terms."""
        model = self.model
        noisy = model.noise.noisy(batch.latents, batch.noise, batch.timesteps)
        target = model.noise.target(batch.latents, batch.noise, batch.timesteps)
        attention = AttentionPass(pictures=self._pictures(batch))
        text = self._text(batch.captions)
        prediction = model.predict(noisy, batch.timesteps, text, batch.time_ids, attention)
        error = masked_mse(prediction.float() - target)
        return error, {"error": error}

    def adapter(self) -> PictureAdapter:
        """The adapter that the parameters are; of the same memory."""
        layers = zip(self.to_k, self.to_v, self.factors, strict=True)
        projection = dict(zip(self._names, self.projection, strict=True))
        return PictureAdapter(projection, tuple(AdapterLayer(*parts) for parts in layers), self._head_width)

    @torch.no_grad()
    def residual(self) -> Tensor:
        """How far each parameter moved, an L2 norm each."""
        moved = [
            (parameter.detach().cpu() - start).norm()
            for parameter, start in zip(self.parameters(), self._start, strict=True)
        ]
        return torch.stack(moved)

    def _pictures(self, batch: AdapterBatch) -> JointPictures:
        """The references of the batch as image tokens and names."""
        adapter, most = self.adapter(), batch.features.shape[1]
        tokens = project(adapter, batch.features.flatten(0, 1))
        tokens = tokens.view(-1, most, *tokens.shape[1:])
        rows = [[self._name_rows(name) for name in names] for names in batch.names]
        longest = max((len(each) for names in rows for each in names), default=1)
        name_rows = torch.zeros(len(rows), most, longest, self.model.width)
        lengths = torch.zeros(len(rows), most, dtype=torch.long)
        for place, names in enumerate(rows):
            for index, each in enumerate(names):
                name_rows[place, index, : len(each)] = each
                lengths[place, index] = len(each)
        device = batch.features.device
        return JointPictures(tokens, name_rows.to(device), lengths.to(device), adapter.layers)

    @torch.no_grad()
    def _text(self, captions: Sequence[str]) -> Conditioning:
        """The captions' conditioning, each encoded alone."""
        parts = [self._encoded(caption) for caption in captions]
        pooled = [each.pooled for each in parts if each.pooled is not None]
        return Conditioning(torch.cat([each.embeds for each in parts]), torch.cat(pooled) if pooled else None)

    def _encoded(self, caption: str) -> Conditioning:
        """A caption's conditioning [1, L, d] with pooled text where the model reads it; kept as far as it fits."""
        found: list[Conditioning] = []

        def encode() -> Conditioning:
            if not found:
                found.append(self.model.encode_text([caption]))
            return found[0]

        embeds = self._kept.get(("embeds", caption), lambda: encode().embeds.detach())
        none = torch.zeros(0)
        pooled = self._kept.get(("pooled", caption), lambda: none if (p := encode().pooled) is None else p.detach())
        return Conditioning(embeds, pooled if pooled.numel() else None)

    def _name_rows(self, name: str) -> Tensor:
        """A name encoded alone, without start and end token: [n, d] on the CPU."""
        tokens = [token.index for token in self.model.prompt_tokens(name).tokens]

        @torch.no_grad()
        def encode() -> Tensor:
            embeds = self.model.encode_text([name]).embeds[0].float().cpu()
            inside = [index for index in tokens if index < len(embeds) - 1]
            if not inside:
                raise ModelError(f'the name "{name}" has no token in this model\'s vocabulary')
            return embeds[inside].clone()

        return self._kept.get(("name", name), encode)


def _with_factor(layer: AdapterLayer, seed: int, place: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and text factor of a layer to start from."""
    factor = layer.text_to_weight
    if factor is None:
        width = len(layer.to_k)
        generator = keyed_generator(seed, "text factor", place)
        factor = (torch.rand(width, generator=generator) * 2 - 1) * width**-0.5
    return layer.to_k, layer.to_v, factor


def _own(weight: Tensor, model: TrainingModel) -> Tensor:
    """A copy that learns, in float32 where the model is."""
    return weight.detach().to(model.device, torch.float32, copy=True)
