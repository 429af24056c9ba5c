"""Published guidance configs in ComfyUI's input folder: finding, reading, and noticing when their files change."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...cones2.concepts.residual import Residual
from ...cones2.concepts.residual_file import load_residual
from ...cones2.errors import ConfigError
from ...cones2.layout.painted import layout_from_colors
from ...cones2.layout.regions import Layout
from ...cones2.messages import MESSAGE_LIMIT, shown
from ...cones2.prompt.claims import PhraseRef
from ...cones2.prompt.tokens import find_phrase
from ...cones2.published.config import GuidanceConfig, load_guidance_configs, read_configs
from ...cones2.published.placement import Placement
from ...cones2.storage.images import open_layout_picture
from .folders import file_stamp, residual_folders
from .prompt_record import PromptRecord


def config_files() -> list[str]:
    """All .json files of the input folder, as names inside it."""
    root = _input_folder()
    found = [
        Path(folder) / name for folder, _, names in os.walk(root) for name in names if name.lower().endswith(".json")
    ]
    return sorted(path.relative_to(root).as_posix() for path in found)


def config_path(config: object) -> Path | None:
    """The file inside the input folder; None when it is not there, or for anything but a name."""
    if not isinstance(config, str):
        return None
    root = _input_folder().resolve()
    try:
        path = (root / config).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a loop of links
        return None


def missing_config(config: object) -> str:
    """The sentence for an absent config."""
    found = ", ".join(config_files()) or "no .json files"
    return shown(f'there is no guidance config "{shown(config)}" in the input folder; found: {found}', MESSAGE_LIMIT)


def read_entry(config: str, number: int) -> GuidanceConfig:
    """Entry `number`, from 1, of a config in the input folder.

    Raises ConfigError for an absent or faulty config or entry.
    """
    path = config_path(config)
    if path is None:
        raise ConfigError(missing_config(config))
    entries = load_guidance_configs(path, confine_to=_input_folder(), residual_folders=residual_folders())
    if not 1 <= number <= len(entries):
        count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
        raise ConfigError(f"{path.name} has {count}: entry {number} does not exist")
    return entries[number - 1]


def residual_of(placement: Placement, record: PromptRecord) -> Residual:
    """The residual under the phrase it belongs to, or under the one occurrence of it that the config chose."""
    phrase, spans = placement.reference.phrase, placement.claim.spans
    occurrences = find_phrase(record.tokens, phrase, record.tokenize)
    number = occurrences.index(spans[0]) + 1 if len(spans) == 1 < len(occurrences) else None
    assert placement.residual is not None  # `read_entry` raises for an absent file
    return load_residual(placement.residual).with_reference(PhraseRef(phrase, number))


def layout_of(config: GuidanceConfig) -> Layout:
    """The layout that an entry names. Raises ConfigError when it names none."""
    if config.layout is None or not config.colors:
        raise ConfigError(f"{config.where}: it names no layout picture and colors, which this node needs")
    return layout_from_colors(open_layout_picture(config.layout), config.colors)


def file_stamps(config: str, number: int | None) -> list[tuple[str, int, int]]:
    """Path, modification time and size of a config and of the files that its entry names.

    number: the entry, from 1; None for all. Nothing is opened but the config, within the limits of loading it.
    """
    path = config_path(config)
    if path is None:
        return []
    entries, _ = read_configs(path, confine_to=_input_folder(), residual_folders=residual_folders())
    chosen = [entry for entry in entries if number in (None, entry.entry)]
    named = [file for entry in chosen for file in (entry.layout, *(subject.residual for subject in entry.subjects))]
    return [stamp for file in (path, *named) if file is not None and (stamp := file_stamp(file))]


def _input_folder() -> Path:
    return Path(folder_paths.get_input_directory())
