"""Where prompt and picture stand in the attention calls of ComfyUI's diffusion transformers.

One table, read in ComfyUI 0.33, keyed by the host's classes: a model of another class is refused. A call is recognized
by its lengths; calls of other lengths (text alone, picture alone, adapters) a layout leaves alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ....cones2.errors import ModelError

if TYPE_CHECKING:
    from comfy.model_base import BaseModel


@dataclass(frozen=True)
class Place:
    """Where prompt and picture stand in one kind of attention call.

    queries, keys: its tokens. grid: (height, width) of the picture's cells.
    cell: the first of them among the queries. token: the first token of the prompt among the keys.
    joint: whether text and picture are one sequence; otherwise cells read the text in a layer of its own.
    references: where the tokens of each reference picture stand among the keys.
    """

    queries: int
    keys: int
    grid: tuple[int, int]
    cell: int
    token: int
    joint: bool = True
    references: tuple[range, ...] = ()


@dataclass(frozen=True)
class _Sizes:
    """What a place follows from: the picture's grid, tokens of the prompt, tokens of each reference picture."""

    grid: tuple[int, int]
    rows: int
    references: tuple[int, ...]

    @property
    def cells(self) -> int:
        return math.prod(self.grid)


def _text_first(network: Any, sizes: _Sizes) -> Place:
    """Text, picture, reference pictures."""
    first = sizes.rows + sizes.cells
    stops = list(itertools.accumulate(sizes.references, initial=first))
    references = tuple(range(start, stop) for start, stop in itertools.pairwise(stops))
    return Place(stops[-1], stops[-1], sizes.grid, sizes.rows, 0, references=references)


def _registers_first(network: Any, sizes: _Sizes) -> Place:
    """Registers, text, picture. Blocks with picture self-attention have calls of another length for it."""
    first = network.register_length
    total = first + sizes.rows + sizes.cells
    return Place(total, total, sizes.grid, first + sizes.rows, first)


def _padded(network: Any, sizes: _Sizes) -> Place:
    """Text and picture, each padded to a multiple."""
    if sizes.references:
        raise ModelError(
            "Z-Image with reference pictures puts them before the prompt, where no layout can steer it yet"
        )
    multiple = network.pad_tokens_multiple or 1
    text, picture = (-(-count // multiple) * multiple for count in (sizes.rows, sizes.cells))
    return Place(text + picture, text + picture, sizes.grid, text, 0)


def _cross(network: Any, sizes: _Sizes) -> Place:
    """Cells read the text in layers of their own, beside layers in which they read each other."""
    if sizes.cells == sizes.rows:
        raise ModelError(
            f"a picture of {sizes.grid[0]} × {sizes.grid[1]} cells has as many of them as this model's prompt has "
            f"tokens ({sizes.rows}), so its two kinds of attention look alike: make the picture larger or smaller"
        )
    return Place(sizes.cells, sizes.rows, sizes.grid, 0, 0, joint=False)


@dataclass(frozen=True)
class _Row:
    """One class of models.

    network: the class of its diffusion model. patch: its attribute with the latents per cell and side.
    pads_left: whether the host puts what a prompt lacks in length before it.
    learns: keys of the families whose residuals can be learned with it; none where its attention has no gradient.
    columns: what its configuration calls the columns of the text that it reads, where the families differ in them.
    """

    network: str
    place: Callable[[Any, _Sizes], Place]
    patch: str = "patch_size"
    pads_left: bool = False
    learns: tuple[str, ...] = ()
    columns: str = ""


_TABLE = {
    "Flux": _Row("Flux", _text_first, learns=("flux1",)),
    "Flux2": _Row(
        "Flux", _text_first, pads_left=True, learns=("flux2", "klein4b", "klein9b"), columns="context_in_dim"
    ),
    "Chroma": _Row("Chroma", _text_first, learns=("chroma",)),
    "QwenImage": _Row("QwenImageTransformer2DModel", _text_first, learns=("qwen_image",)),
    "Krea2": _Row("SingleStreamDiT", _text_first, patch="patch", learns=("krea2",)),
    "Lumina2": _Row("NextDiT", _padded, learns=("lumina2", "z_image"), columns="cap_feat_dim"),
    "SD3": _Row("OpenAISignatureMMDITWrapper", _registers_first, learns=("sd3",)),
    "Anima": _Row("Anima", _cross, patch="patch_spatial"),
    "CosmosPredict2": _Row("MiniTrainDIT", _cross, patch="patch_spatial"),
    "WAN21": _Row("WanModel", _cross, learns=("wan",)),
}


def is_known(model: BaseModel) -> bool:
    """Whether a model is a transformer of a class that layouts steer."""
    row = _TABLE.get(type(model).__name__)
    return row is not None and type(model.diffusion_model).__name__ == row.network


def pads_left(model: BaseModel) -> bool:
    """Whether the host pads this model's prompts in front."""
    return is_known(model) and _TABLE[type(model).__name__].pads_left


def families_of(model: BaseModel) -> tuple[str, ...]:
    """Keys of the families whose residuals can be learned with a known model."""
    return _TABLE[type(model).__name__].learns


def text_columns(model: BaseModel) -> int | None:
    """Columns of the conditioning that a known model reads; None where its class tells them."""
    columns: int | None = model.model_config.unet_config.get(_TABLE[type(model).__name__].columns)
    return columns


def cells_per_side(model: BaseModel) -> int:
    """Latents per cell and side of a known model."""
    return _side(getattr(model.diffusion_model, _TABLE[type(model).__name__].patch))


def place_of(model: BaseModel, x: Tensor, rows: int, extra: Mapping[str, Any]) -> Place:
    """The place of the prompt in a forward pass of a known model.

    x: the latents [B, C, h, w] or [B, C, 1, h, w]. rows: tokens of the prompts. extra: the host's other inputs.
    Raises ModelError for a video, and where the prompt cannot be told from the rest.
    """
    if x.ndim == 5 and x.shape[2] > 1:
        raise ModelError(f"layouts steer single pictures, and this run makes {x.shape[2]} frames")
    row = _TABLE[type(model).__name__]
    patch = cells_per_side(model)
    latents = extra.get("ref_latents") or ()
    if extra.get("ref_latents_method", getattr(model.diffusion_model, "default_ref_method", "")) is None:
        latents = ()  # Krea 2 takes no reference pictures unless it is told how
    references = tuple(math.prod(_grid(each, patch)) for each in latents)
    return row.place(model.diffusion_model, _Sizes(_grid(x, patch), rows, references))


def _grid(latents: Tensor, patch: int) -> tuple[int, int]:
    """The cells of latents, which the host pads to whole patches."""
    height, width = latents.shape[-2:]
    return -(-height // patch), -(-width // patch)


def _side(patch: int | tuple[int, ...]) -> int:
    return patch if isinstance(patch, int) else patch[-1]
