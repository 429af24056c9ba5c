"""What the pack's nodes say about themselves."""

from collections.abc import Iterator
from typing import Any

import nodes
from comfy_api.latest import io


def pack_nodes() -> dict[str, Any]:
    """node_id → class of the pack's nodes."""
    return {name: cls for name, cls in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("Cones2")}


def described() -> dict[str, Any]:
    """node_id → display name, description, aliases, and the tooltip of each input and output."""
    return {name: _described(cls.GET_SCHEMA()) for name, cls in pack_nodes().items()}


def _described(schema: io.Schema) -> dict[str, Any]:
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "category": schema.category,
        "aliases": schema.search_aliases,
        "inputs": {item.id: item.tooltip for item in schema.inputs},
        "grown": {item.id: item.tooltip for growing in schema.inputs for item in _grown(growing)},
        "outputs": [[item.display_name or item.id, item.tooltip] for item in schema.outputs],
    }


def _grown(item: Any) -> Iterator[Any]:
    """The input that a growing list repeats."""
    if isinstance(item, io.Autogrow.Input):
        yield item.template.input


def options() -> dict[str, Any]:
    """node_id → what /object_info sends of its inputs (order, types, defaults) and outputs, without combo lists."""
    return {name: _options(cls) for name, cls in pack_nodes().items()}


def _options(cls: Any) -> dict[str, Any]:
    info = cls.GET_NODE_INFO_V1()
    return {"input": info["input"], "output": info["output"], "output_name": info["output_name"]}
