"""What the pack's nodes say about themselves, in the form of ComfyUI's translation files."""

from typing import Any

import nodes


def node_defs() -> dict[str, Any]:
    """The schemas as locales/*/nodeDefs.json."""
    own = {node_id: cls for node_id, cls in nodes.NODE_CLASS_MAPPINGS.items() if node_id.startswith("Cones2")}
    return {node_id: _node_def(cls.GET_NODE_INFO_V1()) for node_id, cls in own.items()}


def _node_def(info: dict[str, Any]) -> dict[str, Any]:
    inputs = info["input"].get("required", {}) | info["input"].get("optional", {})
    outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": {
            name: {"name": spec[1].get("display_name") or name, "tooltip": spec[1]["tooltip"]}
            for name, spec in inputs.items()
        },
        "outputs": {str(number): {"name": name, "tooltip": tooltip} for number, (name, tooltip) in enumerate(outputs)},
    }
