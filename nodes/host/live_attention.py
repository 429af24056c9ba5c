"""Where each subject's word looks, on the preview of a picture that is being made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import comfy.utils
from comfy.patcher_extension import WrappersMP
from PIL import Image
from torch import Tensor

from ...cones2.guidance.heat_maps import AttentionRecorder
from ...cones2.layout.drawing import heat_overlay
from .attention.call import WATCH_KEY, Watch
from .bound_layout import LAYOUT_KEY, BoundLayout
from .previews import previewer_of

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.patcher_extension import WrapperExecutor

    from .conditioning import Conditioning

_KEY = "cones2_live_attention"
_SIDE = 512  # pixels of the longer side
_GRAY = 100


def with_live_attention(model: ModelPatcher, positive: Conditioning) -> ModelPatcher:
    """A clone whose runs show on their preview what the prompt of the first layout attends to; they draw the same.

    The model itself where nothing carries a layout.
    """
    found = [(cond, options[LAYOUT_KEY]) for cond, options in positive if options.get(LAYOUT_KEY) is not None]
    previewer = previewer_of(model)
    if not found:
        return model
    cond, bound = found[0]
    view = _View(bound, previewer and previewer.decode_latent_to_preview)
    clone = model.clone()
    clone.model_options["transformer_options"][WATCH_KEY] = Watch(view.observe, cond.shape[1], layout=bound)
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, partial(_show, view))
    return clone


def _show(
    view: _View,
    executor: WrapperExecutor,
    noise: Tensor,
    latent_image: Tensor,
    sampler: Any,
    sigmas: Tensor,
    denoise_mask: Tensor | None = None,
    callback: Any = None,
    disable_pbar: bool = False,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """OUTER_SAMPLE hook: the host's own preview makes way, since a node shows one picture at a time."""
    view.size = (noise.shape[-2], noise.shape[-1])
    show = view.shown(comfy.utils.ProgressBar(len(sigmas) - 1))
    return executor(noise, latent_image, sampler, sigmas, denoise_mask, show, disable_pbar, seed, **kwargs)


class _View:
    """The maps of one step after the other.

    size: (height, width) of the latents. decode: of the host's previewer; None: maps on gray.
    """

    def __init__(self, bound: BoundLayout, decode: Callable[[Tensor], Image.Image] | None) -> None:
        named = [(region, spans) for region, spans in zip(bound.layout.regions, bound.spans, strict=True) if spans]
        self.size = (1, 1)
        self._regions = [region for region, _ in named]
        self._indices = [sorted({index for span in spans for index in span}) for _, spans in named]
        self._decode = decode
        self._recorder: AttentionRecorder | None = None
        self._maps: Tensor | None = None

    def observe(self, q: Tensor, k: Tensor, bias: Tensor | None, grid: tuple[int, int]) -> None:
        """Of a batch the first picture is shown, as the host does."""
        self._recorder = self._recorder or AttentionRecorder(self._indices, self.size)
        self._recorder.observe(q[:1], k[:1], None if bias is None else bias[:1], grid)

    def shown(self, bar: comfy.utils.ProgressBar) -> Callable[[int, Tensor, Tensor, int], None]:
        """The host's callback of a run: step, denoised latents, noisy latents, number of steps."""

        def show(step: int, denoised: Tensor, _: Tensor, steps: int) -> None:
            if self._recorder is not None:  # steps that are not guided show the last that was
                self._maps, self._recorder = self._recorder.heat_maps(), None
            bar.update_absolute(step + 1, steps, ("JPEG", self._picture(denoised), _SIDE))

        return show

    def _picture(self, denoised: Tensor) -> Image.Image:
        preview = self._decode(denoised) if self._decode else Image.new("L", self.size[::-1], _GRAY)
        scale = _SIDE / max(preview.size)
        height, width = (max(1, round(side * scale)) for side in (preview.height, preview.width))
        preview = preview.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        if self._maps is None:
            return preview
        gray = preview.convert("L").convert("RGB")  # its own colors would pass for those of the regions
        return heat_overlay(gray, self._maps, self._regions)
