"""The pack's workflow files and those of earlier releases, what these need beside them, and how they run quickly."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.host.client.discovery import PACK

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
EARLIER = sorted((PACK / "tests" / "host" / "earlier").glob("*.json"))
SUBJECTS = ("mug", "dog", "cat", "vase")
QUICKENED = ("EmptyLatentImage", "BasicScheduler", "Cones2LayoutGuidedKSampler", "KSampler", "Cones2Scene")
SMALL: dict[str, Any] = {"steps": 2, "width": 64, "height": 64, "scale_by": 1.5}


def supply_files(base: Path, width: int = 768) -> None:
    """What earlier workflows ask the user for: the assets in input/, a residual per subject (random here)."""
    residuals = base / "models" / "residuals"
    for asset in (PACK / "workflows" / "assets").rglob("*.*"):
        shutil.copy(asset, base / "input" / asset.name)
    generator = torch.Generator().manual_seed(3)
    for subject in SUBJECTS:
        rows = torch.randn(1, width, generator=generator)
        save_file({"residual": rows}, residuals / f"{subject}.safetensors", {"subject": subject})
        torch.save(rows, residuals / f"{subject}.pt")


def read_workflow(path: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return workflow


def all_nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a workflow and of the subgraphs in it, without the nodes that stand for subgraphs."""
    subgraphs = workflow.get("definitions", {}).get("subgraphs", [])
    known = {subgraph["id"] for subgraph in subgraphs}
    return [node for graph in (workflow, *subgraphs) for node in graph["nodes"] if node["type"] not in known]


def quick(prompt: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """The API prompt on a synthetic checkpoint, with few steps and small latents; links stay links."""
    return {key: node | {"inputs": _quick_inputs(node, checkpoint)} for key, node in prompt.items()}


def _quick_inputs(node: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    inputs: dict[str, Any] = dict(node["inputs"])
    if "ckpt_name" in inputs:
        inputs["ckpt_name"] = checkpoint
    if node["class_type"] in QUICKENED:
        inputs |= {name: value for name, value in SMALL.items() if name in inputs}
    if node["class_type"] == "Cones2TrainResidual":
        inputs |= {"steps": 2, "resolution": 64, "batch_size": 8, "accumulation": 1, "recipe": "photos"}
    return inputs
