"""The pack's schemas in the form of ComfyUI's translation files."""

from typing import Any


def node_defs(described: dict[str, Any]) -> dict[str, Any]:
    """`described` of drivers/schemas.py as locales/*/nodeDefs.json."""
    return {node_id: _node_def(node) for node_id, node in described.items()}


def _node_def(node: dict[str, Any]) -> dict[str, Any]:
    named_outputs = enumerate(node["outputs"])
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {name: {"name": name, "tooltip": tooltip} for name, tooltip in node["inputs"].items()},
        "outputs": {str(number): {"name": name, "tooltip": tooltip} for number, (name, tooltip) in named_outputs},
    }
