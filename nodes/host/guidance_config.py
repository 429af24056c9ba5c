"""Open a published guidance config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..cones2.concepts.residual import Residual, load_residual
from ..cones2.errors import Cones2Error, ConfigError
from ..cones2.layout.colors import parse_color
from ..cones2.layout.drawing import open_layout_picture
from ..cones2.layout.regions import ColorEntry, Layout, layout_from_colors
from ..cones2.prompt.tokens import find_phrase
from ..cones2.published.config import GuidanceConfig, load_guidance_configs
from ..cones2.published.placement import SubjectPlacement, resolve_subjects
from .host.prompt_record import PromptRecord, read_prompt
from .host.sockets import CATEGORY, RESIDUAL_FOLDER, LayoutSocket, ResidualSocket


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
                    options=_config_files(),
                    tooltip="A guidance config in ComfyUI's input folder. The upload button takes the config, its "
                    "layout and its residuals together.",
                ),
                io.Int.Input("entry", default=1, min=1, max=1000, tooltip="Which entry of the file, from 1."),
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder the prompt will be encoded with: it tells which words the config's "
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
        return True if config is None or _config_path(config) else _missing(config)

    @classmethod
    def fingerprint_inputs(cls, config: str = "", **_: Any) -> list[tuple[str, int, int]]:
        path = _config_path(config)
        if path is None:
            return []
        return [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in [path, *_files_named(path)]]

    @classmethod
    def execute(cls, config: str, entry: int, clip: Any) -> io.NodeOutput:
        path = _config_path(config)
        if path is None:
            raise ConfigError(_missing(config))
        chosen = _entry(path, entry)
        record, _ = read_prompt(clip, chosen.prompt)
        placements = resolve_subjects(chosen, record.tokens, record.tokenize)
        residuals = tuple(_residual(placement, record) for placement in placements)
        return io.NodeOutput(
            chosen.prompt,
            residuals,
            _layout(chosen),
            chosen.guidance_weight,
            chosen.guidance_steps,
            chosen.weight_negative,
        )


def _entry(path: Path, number: int) -> GuidanceConfig:
    configs = _load(path)
    if number > len(configs):
        raise ConfigError(
            f"{path.name} has {len(configs)} {'entry' if len(configs) == 1 else 'entries'}: entry {number} does not "
            f"exist"
        )
    return configs[number - 1]


def _load(path: Path) -> list[GuidanceConfig]:
    folders = [Path(folder) for folder in folder_paths.get_folder_paths(RESIDUAL_FOLDER)]
    return load_guidance_configs(path, confine_to=Path(folder_paths.get_input_directory()), residual_folders=folders)


def _residual(placement: SubjectPlacement, record: PromptRecord) -> Residual:
    """The residual under the phrase it belongs to; one of several places is selected with "#2"."""
    places = find_phrase(record.tokens, placement.phrase, record.tokenize)
    chosen = placement.spans
    number = f"#{places.index(chosen[0]) + 1}" if len(chosen) == 1 < len(places) else ""
    return load_residual(placement.residual, placement.phrase + number)


def _layout(config: GuidanceConfig) -> Layout:
    if config.layout is None or not config.colors:
        raise ConfigError(f"{config.where}: it names no layout picture and colors, which this node needs")
    table = [ColorEntry(parse_color(text), subject, weight) for text, subject, weight in config.colors]
    return layout_from_colors(open_layout_picture(config.layout), table)


def _files_named(path: Path) -> list[Path]:
    try:
        configs = _load(path)
    except Cones2Error:
        return []
    files = [config.layout for config in configs] + [
        subject.residual for config in configs for subject in config.subjects
    ]
    return [file for file in files if file is not None]


def _config_path(config: str) -> Path | None:
    """The file inside the input folder; None when it is not there."""
    root = Path(folder_paths.get_input_directory()).resolve()
    path = (root / config).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def _config_files() -> list[str]:
    root = Path(folder_paths.get_input_directory())
    found = [
        Path(folder) / name for folder, _, names in os.walk(root) for name in names if name.lower().endswith(".json")
    ]
    return sorted(path.relative_to(root).as_posix() for path in found)


def _missing(config: str) -> str:
    found = ", ".join(_config_files()) or "no .json files"
    return f'there is no guidance config "{config}" in the input folder; found: {found}'


NODES = [Cones2LoadGuidanceConfig]
