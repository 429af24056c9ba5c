"""Looks at each graph before it runs: whether a layout in it reaches a sampler.

While a graph runs this cannot be seen: nothing of ours runs where a layout is not followed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from .running_server import running_server

log = logging.getLogger(__name__)

_APPLY = "Cones2ApplyLayoutGuidance"
_SCENE = "Cones2Scene"
_FOLLOWS_BY_ITSELF = "Cones2LayoutGuidedKSampler"
_LOOKS = "Cones2SubjectAttention"


def watch_graphs() -> None:
    """Warn from now on of each queued graph that loses a layout."""
    if running := running_server():
        running.add_on_prompt_handler(_warn)


def _warn(request: dict[str, Any]) -> dict[str, Any]:
    """The host's handler for a request to queue a graph, which it has not validated yet."""
    for lost in (lost_layout(request.get("prompt")), unguided_look(request.get("prompt"))):
        if lost:
            log.warning("%s", lost)
    return request


def lost_layout(graph: Any) -> str:
    """A sentence for a graph that takes a layout from Apply Layout Guidance or Scene and loses it; empty for any other.

    graph: node id → class and inputs, as sent to be queued.
    One model follows the layouts of all conditionings, so one of several model outputs is enough.
    """
    nodes = _nodes(graph)
    kinds = {id: node.get("class_type") for id, node in nodes.items()}
    taken = {
        (kinds[id], name, output)
        for id, node in nodes.items()
        for name, origin, output in _links(node)
        if kinds.get(origin) == _APPLY
    }
    if ("ConditioningConcat", "conditioning_from", 1) in taken:
        return "Conditioning Concat drops the layout of conditioning_from: connect Apply Layout Guidance after it"
    used = {(kinds.get(origin), output) for node in nodes.values() for _, origin, output in _links(node)}
    if (_SCENE, 0) in used and not {_APPLY, _FOLLOWS_BY_ITSELF} & set(kinds.values()):
        return "no picture follows the layout of Scene: sample with Layout Guided KSampler"
    if {output for _, _, output in taken} == {1} and _FOLLOWS_BY_ITSELF not in kinds.values():
        return "no picture follows the layout: connect the model output of Apply Layout Guidance to the sampler too"
    return ""


def unguided_look(graph: Any) -> str:
    """A sentence for a graph that looks at a guided picture with an unguided model; empty for any other.

    graph: as for `lost_layout`. Layout Guided KSampler guides a model of its own: what is connected to its inputs
    does not know the layout.
    """
    nodes = _nodes(graph)
    kinds = {id: node.get("class_type") for id, node in nodes.items()}
    if _APPLY in kinds.values():
        return ""
    for node in nodes.values():
        origins = {name: kinds.get(origin) for name, origin, _ in _links(node)}
        looks = node.get("class_type") == _LOOKS and origins.get("latent") == _FOLLOWS_BY_ITSELF
        if looks and {origins.get("model"), origins.get("conditioning")} != {_FOLLOWS_BY_ITSELF}:
            return (
                "Subject Attention looks without the layout: model and conditioning that go into Layout Guided "
                "KSampler do not carry it; take both from its outputs"
            )
    return ""


def _nodes(graph: Any) -> dict[str, dict[str, Any]]:
    return {id: node for id, node in graph.items() if isinstance(node, dict)} if isinstance(graph, dict) else {}


def _links(node: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """(input, id of the node that it comes from, number of that node's output) of each connected input."""
    inputs = node.get("inputs")
    for name, value in inputs.items() if isinstance(inputs, dict) else ():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
            yield name, value[0], value[1]
