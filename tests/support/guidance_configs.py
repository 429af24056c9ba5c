"""guidance_config.json files, written by tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cones2.published.config import GuidanceConfig, load_guidance_configs

ENTRY: dict[str, Any] = {
    "prompt": "a mug and a dog on the beach",
    "residual_dict": {"dog": "residuals/dog.pt", "mug": "residuals/mug.pt", "barn": "residuals/barn.pt"},
    "color_context": {"255,192,0": ["mug", 2.5], "255,0,0": ["dog", 1]},
    "guidance_steps": 20,
    "guidance_weight": 0.05,
    "weight_negative": -1e6,
    "layout": "layouts/beach.png",
    "subject_list": [["mug", 2], ["dog", 5]],
}


def config_folder(tmp_path: Path) -> Path:
    """A config folder in which the files of `subject_list` and the layout exist (contents unread here)."""
    for name in ("residuals/dog.pt", "residuals/mug.pt", "layouts/beach.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    return tmp_path


def write(folder: Path, data: Any) -> Path:
    path = folder / "guidance_config.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def load_one(folder: Path, **changes: Any) -> GuidanceConfig:
    (config,) = load_guidance_configs(write(folder, [ENTRY | changes]))
    return config
