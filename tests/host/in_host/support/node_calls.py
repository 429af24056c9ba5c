"""The nodes that read residuals, pictures, masks, boxes and configs, called with short arguments."""

import json
import os
from pathlib import Path
from typing import Any

import folder_paths
import hostkit
import scenes
import torch
from PIL import Image
from torch import Tensor


def residual(
    subject: str = "dog", width: int = 768, rows: int = 1, seed: int = 1, strength: float = 1.0, **metadata: str
) -> tuple:
    """CONES2_RESIDUAL of random vectors."""
    make = scenes.module("cones2.concepts.residual").make_residual
    tensor = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return (make(subject, tensor, metadata).with_strength(strength),)


def apply(conditioning: Any, *residuals: tuple, **options: Any) -> Any:
    named = {f"residual{index}": value for index, value in enumerate(residuals)}
    return hostkit.run_node("Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals=named, **options)[
        0
    ]


def changed_rows(after: Any, before: Any) -> list[int]:
    return (after[0][0] - before[0][0]).abs().sum((0, 2)).nonzero().flatten().tolist()


def residual_roots() -> list[str]:
    """All roots: models/residuals, and one as extra_model_paths.yaml adds it."""
    further = os.path.join(folder_paths.base_path, "more", "residuals")
    folder_paths.add_model_folder_path("residuals", further)
    return folder_paths.get_folder_paths("residuals")


def color_layout(colors: str, image: Tensor | None = None, **options: Any) -> Any:
    image = scenes.box_image({(255, 0, 0): scenes.DOG_BOX}) if image is None else image
    return hostkit.run_node("Cones2ColorLayoutToMasks", image=image, colors=colors, **options)


def masks(*values: Tensor, subjects: str = "dog") -> Any:
    named = {f"mask{index}": value for index, value in enumerate(values)}
    return hostkit.run_node("Cones2LayoutFromMasks", masks=named, subjects=subjects)[0]


def boxes(value: Any, subjects: str = "dog", width: int = 100, height: int = 100, **more: Any) -> Any:
    drawn = {"boxes": value, "width": width, "height": height, "subjects": subjects, **more}
    return hostkit.run_node("Cones2LayoutFromBoxes", **drawn)[0]


def load_config(name: str, clip: Any, **options: Any) -> tuple:
    return hostkit.run_node("Cones2LoadGuidanceConfig", config=name, clip=clip, **options)


def nameless(stem: str) -> tuple:
    """CONES2_RESIDUAL of a file that holds a tensor and no phrase."""
    folder = Path(folder_paths.get_folder_paths("residuals")[0])
    torch.save(torch.ones(1, 768), folder / f"{stem}.pt")
    return load(f"{stem}.pt", subject="")


def save(residual: tuple, name: str, **options: Any) -> None:
    hostkit.run_node("Cones2SaveResidual", residual=residual, name=name, **options)


def load(file: str, **options: Any) -> tuple:
    return hostkit.run_node("Cones2LoadResidual", file=file, **options)[0]


def write_config() -> str:
    """A published config with its layout and one residual beside it, the other in models/residuals."""
    folder = Path(folder_paths.get_input_directory()) / "published"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {
        "prompt": "a mug and a dog on the beach, a dog",
        "residual_dict": {"<dog>": "residuals/dog.pt", "mug": "residuals/mug_of_mine.pt", "barn": "residuals/barn.pt"},
        "color_context": {"255,192,0": ["mug", 2.5], "255,0,0": ["dog", 3]},
        "guidance_steps": 12,
        "guidance_weight": 0.06,
        "weight_negative": -1e6,
        "layout": "layouts/layout.png",
        "subject_list": [["mug", 2], ["<dog>", 5]],
    }
    (folder / "guidance_config.json").write_text(json.dumps([entry, entry]))
    picture = scenes.box_image({(255, 0, 0): scenes.DOG_BOX, (255, 192, 0): scenes.MUG_BOX})[0]
    Image.fromarray((picture * 255).byte().numpy()).save(folder / "layout.png")
    torch.save(torch.ones(1, 768), folder / "dog.pt")
    torch.save(torch.ones(1, 768), Path(folder_paths.get_folder_paths("residuals")[0]) / "mug_of_mine.pt")
    return "published/guidance_config.json"
