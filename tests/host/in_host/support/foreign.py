"""Changes of a model as other packs make them."""

from typing import Any

import comfy.sd
import scenes
import torch
from torch import Tensor


class Foreign:
    """Changes of a model as other packs make them; each takes and returns a MODEL."""

    def __init__(self) -> None:
        self.calls = 0
        self.columns = torch.randn(1, 4, 768, generator=torch.Generator().manual_seed(11))

    def replacement(self, model: Any) -> Any:
        """An image prompt: attention to further columns, added to that of the text."""

        def replaced(q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
            self.calls += 1
            return scenes.plain_attention(q, k, v, extra) + 0.5 * scenes.plain_attention(
                q, k.flip(1), v.roll(3, 1), extra
            )

        return scenes.with_replaced(model, replaced)

    def block_replacement(self, model: Any) -> Any:
        """The same under the older key (block, number), for the first and the last block."""

        def replaced(q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
            self.calls += 1
            return 0.5 * scenes.plain_attention(q, k, v, extra)

        clone = model.clone()
        clone.set_model_attn2_replace(replaced, "input", 1)
        clone.set_model_attn2_replace(replaced, "output", 3)
        return clone

    def patch(self, model: Any) -> Any:
        """Further columns of the context, appended for every layer."""

        def patched(n: Tensor, context: Tensor, value: Tensor, extra: dict) -> tuple[Tensor, Tensor, Tensor]:
            self.calls += 1
            more = self.columns.expand(context.shape[0], -1, -1)
            return n, torch.cat([context, more], 1), torch.cat([value, more * 2], 1)

        clone = model.clone()
        clone.set_model_attn2_patch(patched)
        return clone

    def override(self, model: Any) -> Any:
        """Another attention function, here the host's own with doubled values."""

        def override(attention: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            self.calls += 1
            return attention(q, k, 1.1 * v, *args, **kwargs)

        clone = model.clone()
        clone.model_options["transformer_options"]["optimized_attention_override"] = override
        return clone

    def lora(self, model: Any) -> Any:
        self.calls += 1
        return comfy.sd.load_lora_for_models(model, None, lora_weights(model), 1.0, 0.0)[0]


def lora_weights(model: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(9)
    name = "diffusion_model.output_blocks.3.1.transformer_blocks.0.attn2.to_k"
    rows, columns = model.model.state_dict()[f"{name}.weight"].shape
    return {
        f"{name}.lora_A.weight": torch.randn(8, columns, generator=generator) * columns**-0.5,
        f"{name}.lora_B.weight": torch.randn(rows, 8, generator=generator),
    }
