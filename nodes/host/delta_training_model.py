"""The host's MODEL, CLIP and VAE as Custom Diffusion's training sees them: differences and words that learn beside the
host's own weights, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...cones2.custom_diffusion.layers import compvis_name, is_key_or_value
from ...cones2.prompt.conditioning import Conditioning
from ...cones2.prompt.tokens import CHUNK_LENGTH
from ...cones2.training.concepts import start_ids
from ...cones2.training.config import TrainingConfig
from ...cones2.training.model import TrainingModel
from .delta_clip import without_words
from .delta_model import base_weights, layers_per_block
from .differentiable import replace_forward
from .prompt_record import read_prompt
from .training_model import trainable_model
from .tunable_text import TunableText

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.sd import CLIP, VAE

_NETWORK = "model.diffusion_model."


@contextmanager
def delta_training_model(
    model: ModelPatcher, clip: CLIP, vae: VAE, config: TrainingConfig, checkpointing: bool
) -> Iterator[TrainingModel]:
    """As `trainable_model`, with attention weights and the rows of the configured words that learn, float32.

    LoRAs and other patches stay in force: what learns is what a delta adds to them. Captions are read to the end of
    their first 75 tokens. Raises ConfigError for a word of the model's own vocabulary.
    """
    layers = _LearningLayers(model, config)
    text, rows = _words(without_words(clip), config.token_names)

    def encode(prompt: str) -> Conditioning:
        whole = text(prompt)
        return Conditioning(whole.embeds[:, :CHUNK_LENGTH], whole.pooled)

    with trainable_model(model, clip, vae, config.method, checkpointing, encode, layers.installed) as networks:
        yield replace(networks, attention_weights=layers.weights, token_rows=tuple(rows))


def _words(clip: CLIP, names: Sequence[str]) -> tuple[TunableText, list[nn.Parameter]]:
    """A copy of the text encoder that knows the words, and their vectors [n, d] of each encoder, which learn.

    Without words too it is a copy: loading the host's own at every step could push the UNet out of its memory.
    """
    text = TunableText(clip)
    if not names:
        return text.with_words({}), []
    words: dict[str, Mapping[str, Tensor]] = {}
    rows = []
    for encoder in read_prompt(clip, "")[1]:
        table = text.token_table(encoder)
        chosen = start_ids(getattr(clip.tokenizer, f"clip_{encoder}").tokenizer.get_vocab(), names)
        rows.append(nn.Parameter(table[chosen].detach().clone()))
        words[encoder] = {name: rows[-1][place] for place, name in enumerate(names)}  # views: they learn with it
    return text.with_words(words), rows


class _LearningLayers:
    """Cross-attention weights that learn, as differences beside those of the host.

    weights: by diffusers name.
    """

    def __init__(self, model: ModelPatcher, config: TrainingConfig) -> None:
        self._per_block = layers_per_block(model)
        self._start = {
            name: weight.to(model.load_device, torch.float32, copy=True)
            for name, weight in base_weights(model).items()
            if config.attention == "all" or is_key_or_value(name)
        }
        self.weights = {name: nn.Parameter(weight.clone()) for name, weight in self._start.items()}

    @contextmanager
    def installed(self, network: nn.Module) -> Iterator[None]:
        """Inside, the loaded network computes with them."""
        with ExitStack() as undo:
            for name in self.weights:
                if name.endswith(".weight"):
                    path = compvis_name(name, self._per_block).removeprefix(_NETWORK).removesuffix(".weight")
                    replace_forward(network.get_submodule(path), self._forward_of(name), undo)
            yield

    def _forward_of(self, name: str) -> Callable[[nn.Module, Callable[..., Tensor]], Callable[..., Tensor]]:
        bias = f"{name.removesuffix('.weight')}.bias"

        def wrap(_: nn.Module, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def forward(x: Tensor, *args: Any, **options: Any) -> Tensor:
                weight, start = self.weights[name], self._start[name]
                more = self.weights[bias] - self._start[bias] if bias in self.weights else None
                moved = nn.functional.linear(x.to(weight.dtype), weight - start, more)
                out = own(x, *args, **options) + moved.to(x.dtype)
                if not is_key_or_value(name):
                    return out
                return torch.cat([out[:, :1].detach(), out[:, 1:]], 1)  # the start token's is the same in all prompts

            return forward

        return wrap
