"""How a scene is read from prompt, layout and settings: our rules.

`cones2.published.rules` has those of the published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from PIL import Image
from torch import Tensor

from .errors import LayoutError
from .guidance.cross_attention import LayoutBias
from .guidance.settings import DEFAULT_GUIDANCE as DEFAULT_GUIDANCE
from .guidance.settings import GuidanceSettings as GuidanceSettings
from .guidance.weight_maps import weight_maps
from .layout.painted import ColorEntry, layout_from_colors
from .layout.regions import Layout
from .prompt.claims import Claim, locate_subjects, parse_phrase
from .prompt.conditioning import PromptFormat
from .prompt.tokens import PromptTokens, Tokenize
from .sampling.noise import Noise
from .sampling.schedule import Schedule
from .sampling.settings import SamplingSettings


class Rules:
    """Everything a strategy may decide; these are our decisions."""

    name: ClassVar[str] = ""
    prompt_format: ClassVar[PromptFormat] = PromptFormat.CHUNKED
    typed_positions: ClassVar[bool] = False  # residuals go to token indices typed by hand, whatever is there
    scales_cfg: ClassVar[bool] = False  # always by 1 + σ/σ_max

    def read_layout(self, picture: Image.Image, table: Sequence[ColorEntry], tolerance: float) -> Layout:
        """The regions of a painted layout. Raises LayoutError for a picture that lacks a color."""
        return layout_from_colors(picture, table, tolerance)

    def claim_regions(self, layout: Layout, prompt: PromptTokens, tokenize: Tokenize) -> list[Claim]:
        """The tokens of each region. Raises PromptError for a subject that is not in the prompt."""
        subjects = [parse_phrase(subject).come_from("layout") for subject in layout.subjects]
        for subject in subjects:
            if subject.picture is not None:
                raise LayoutError(f'"{subject}" names a reference picture, and this model takes none')
        return locate_subjects(prompt, subjects, tokenize, share=True)

    def layout_term(
        self,
        layout: Layout,
        claims: Sequence[Claim],
        prompt: PromptTokens,
        tokenize: Tokenize,
        guidance: GuidanceSettings,
    ) -> LayoutBias:
        """The attention term of a layout whose k-th region belongs to `claims[k]`."""
        spans = [claim.spans for claim in claims]
        maps = weight_maps(layout, spans, guidance.outside_weight, guidance.outside_mode)
        return LayoutBias(maps, guidance.guidance_weight)

    def guidance_sigmas(self, noise: Noise, schedule: Schedule, guided_steps: int) -> Tensor:
        """The noise level that layout terms see at each guided step: float32, at least `guided_steps` long."""
        return schedule.sigmas

    def guidance_scale(self, settings: SamplingSettings, sigma: Tensor, sigma_max: Tensor) -> Tensor | float:
        """The scale of classifier-free guidance at noise level σ."""
        dynamic = settings.dynamic_cfg or self.scales_cfg
        return settings.cfg * (1 + sigma / sigma_max) if dynamic else settings.cfg


OUR_RULES = Rules()
