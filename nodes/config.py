"""Open a published guidance config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..cones2.published.placement import resolve_subjects
from ..cones2.ranges import ENTRIES
from .host.guidance_config import (
    config_files,
    config_path,
    file_stamps,
    layout_of,
    missing_config,
    read_entry,
    residual_of,
)
from .host.prompt_record import read_prompt
from .host.sockets import CATEGORY, LayoutSocket, ResidualSocket

if TYPE_CHECKING:
    from comfy.sd import CLIP


class Cones2LoadGuidanceConfig(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LoadGuidanceConfig",
            display_name="Load Guidance Config (Cones 2)",
            category=CATEGORY,
            description="Opens a guidance_config.json as Cones 2 publishes them: prompt, subjects, layout and numbers. "
            "Its layout and residuals are looked for beside it, in the folders it names, and in models/residuals.",
            search_aliases=["guidance_config.json", "cones config", "import config"],
            inputs=[
                io.Combo.Input(
                    "config",
                    options=config_files(),
                    tooltip="A guidance config in ComfyUI's input folder. The upload button takes the config, its "
                    "layout and its residuals together.",
                ),
                io.Int.Input(
                    "entry",
                    default=1,
                    min=int(ENTRIES.low),
                    max=int(ENTRIES.high),
                    tooltip="Which entry of the file, from 1.",
                ),
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder the prompt will be encoded with: it decides which words the config's "
                    "positions mean.",
                ),
            ],
            outputs=[
                io.String.Output("prompt", tooltip="The prompt. Connect it to Text Encode (Cones 2)."),
                ResidualSocket.Output(
                    "residuals", tooltip="All subjects of the entry. Connect them to Apply Residual to Conditioning."
                ),
                LayoutSocket.Output("layout", tooltip="Which subject belongs where."),
                io.Float.Output("guidance_weight", tooltip="How strongly the layout steers."),
                io.Int.Output("guided_steps", tooltip="How many steps follow the layout."),
                io.Float.Output("outside_weight", tooltip="Weight where a subject is kept out."),
            ],
        )

    @classmethod
    def validate_inputs(cls, config: str | None = None) -> bool | str:
        """True when `config` exists or comes from another node (None), else the message."""
        return True if config is None or config_path(config) else missing_config(config)

    @classmethod
    def fingerprint_inputs(cls, config: str = "", entry: int | None = None, **_: Any) -> list[tuple[str, int, int]]:
        return file_stamps(config, entry)

    @classmethod
    def execute(cls, config: str, entry: int, clip: CLIP) -> io.NodeOutput:
        chosen = read_entry(config, entry)
        record, _ = read_prompt(clip, chosen.prompt)
        placements = resolve_subjects(chosen, record.tokens, record.tokenize)
        residuals = tuple(residual_of(placement, record) for placement in placements)
        numbers = (chosen.guidance.guidance_weight, chosen.guided_steps, chosen.guidance.outside_weight)
        return io.NodeOutput(chosen.prompt, residuals, layout_of(chosen), *numbers)


NODES = [Cones2LoadGuidanceConfig]
