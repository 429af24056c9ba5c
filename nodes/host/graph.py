"""What the graph around a node says, as the host tells it to nodes that ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_APPLY = "Cones2ApplyLayoutGuidance"
_FOLLOWS_BY_ITSELF = "Cones2LayoutGuidedKSampler"


def no_model_follows(prompt: Mapping[str, Any] | None) -> bool:
    """Whether conditionings of Apply Layout Guidance are used in a graph, but no model that would follow them.

    prompt: node id → class and inputs.
    One model follows the layouts of all conditionings, so one of several model outputs is enough.
    """
    nodes = prompt or {}
    kinds = {id: node.get("class_type") for id, node in nodes.items()}
    links = {tuple(link) for node in nodes.values() for link in node.get("inputs", {}).values() if _is_link(link)}
    used = {output for id, output in links if kinds.get(id) == _APPLY}
    return used == {1} and _FOLLOWS_BY_ITSELF not in kinds.values()


def _is_link(value: Any) -> bool:
    """Whether an input of the graph is [id of a node, number of its output]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
