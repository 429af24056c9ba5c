"""Drivers for edit models whose prompts hold their reference pictures, too."""

import itertools
import math
from itertools import pairwise
from typing import Any

import hostkit
import scenes
import torch
from comfy.text_encoders import qwen_image
from comfy.text_encoders.qwen_vl import process_qwen2vl_images
from comfy_extras import nodes_qwen
from oracle import OVERRIDE
from tiny_transformers import Clip, Vectors, noise, parts, tiny_encoder
from torch import Tensor
from transformer_runs import PROMPT, bound, grid_of, oracle_of, sample


class PictureVectors(Vectors):
    """As `Vectors`, of which a picture has as many as the host's encoder gives it."""

    def encode_token_weights(self, pairs: Any) -> tuple[Any, ...]:
        tokens: list[tuple[int, float]] = []
        self.pictures: list[int] = []
        for token in pairs[0]:
            if isinstance(token[0], dict):
                _, grid = process_qwen2vl_images(token[0]["data"])
                self.pictures.append(int(grid[0].prod()) // 4)
                tokens += [(200000 + n, 1.0) for n in range(self.pictures[-1])]
            else:
                tokens.append((token[0], 1.0))
        return super().encode_token_weights([tokens])


class EditVae:
    """Fewer latents than eighths of a picture's sides, in the same proportion."""

    def encode(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[1] // 8, pixels.shape[2] // 8
        return torch.randn(1, 16, 1, height, width, generator=torch.Generator().manual_seed(height))[..., ::4, ::4]


def pictures_in_the_prompt(sides: list[list[int]], single: bool = False) -> dict:
    """Qwen-Image-Edit's own text nodes: the rows of each picture in the prompt are bound with it."""
    model, _, family = parts("Qwen-Image")
    vectors = PictureVectors()
    clip = Clip(qwen_image.QwenImageTokenizer(), tiny_encoder(qwen_image.QwenImageTEModel, qwen25_7b=vectors))
    photos = [torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(n)) for n, size in enumerate(sides)]
    if single:
        encoded = nodes_qwen.TextEncodeQwenImageEdit.execute(clip, PROMPT, EditVae(), photos[0])
    else:
        encoded = nodes_qwen.TextEncodeQwenImageEditPlus.execute(clip, PROMPT, EditVae(), *photos)
    conds = encoded.args[0]
    start = noise(family)
    picture = scenes.box_image({(255, 0, 0): (0, 0, 1, 0.4), (255, 192, 0): (0.2, 0.5, 0.9, 0.9)}, 128, 192)
    table = "255,0,0 = dog + picture 1\n255,192,0 = mug" + (" + picture 2" if len(sides) > 1 else "")
    regions = hostkit.run_node("Cones2ColorLayoutToMasks", image=picture, colors=table)[0]
    guided_model, guided = scenes.guide(model, conds, regions, clip=clip, text=PROMPT)
    found = sample(guided_model, guided, conds, start, 1)
    latents, rows = conds[0][1]["reference_latents"], conds[0][0].shape[1]
    stops = list(itertools.accumulate((math.prod(grid_of(family, one)) for one in latents),
                                      initial=rows + math.prod(grid_of(family, start))))  # fmt: skip
    oracle = oracle_of(model, family, guided, start)
    override = oracle.model_options["transformer_options"][OVERRIDE]
    override.references = tuple(range(*pair) for pair in pairwise(stops))
    special = [n for n in range(rows) if torch.equal(conds[0][0][0, n], vectors_of(200000))]
    override.picture_rows = tuple(range(n, n + count) for n, count in zip(special, vectors.pictures, strict=True))
    return {
        "error": hostkit.relative_error(found, sample(oracle, conds, conds, start, 1)),
        "effect": hostkit.relative_error(found, sample(model, conds, conds, start, 1)),
        "rows": [[part.start, len(part)] for part in bound(guided).picture_rows],
        "expected": [[part.start, len(part)] for part in override.picture_rows],
    }


def vectors_of(token: int) -> Tensor:
    return Vectors().encode_token_weights([[(token, 1.0)]])[0][0, 0]
