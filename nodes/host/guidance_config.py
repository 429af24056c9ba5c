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
