"""Drivers that describe the pack's nodes as the host's frontend gets them."""

import sys
from typing import Any

import nodes


def schemas() -> dict[str, Any]:
    """Per node: inputs (id, type, section, default) in widget order, and outputs (name, type)."""
    return {node_id: described(cls) for node_id, cls in sorted(own().items())}


def own() -> dict[str, Any]:
    return {node_id: cls for node_id, cls in nodes.NODE_CLASS_MAPPINGS.items() if node_id.startswith("Cones2")}


def described(cls: Any) -> dict[str, Any]:
    info = cls.GET_NODE_INFO_V1()
    sections = [(name, info["input"].get(name, {})) for name in ("required", "optional")]
    return {
        "category": info["category"],
        "output_node": info["output_node"],
        "inputs": [
            [name, spec[0], section, *details(name, spec[1])]
            for section, inputs in sections
            for name, spec in inputs.items()
        ],
        "outputs": list(zip(info["output_name"], info["output"], strict=True)),
    }


def details(name: str, options: dict[str, Any]) -> list[Any]:
    """The default, or how an input grows, and the choices of a combo that are the pack's own."""
    if "template" in options:
        return [{part: options["template"][part] for part in ("prefix", "min", "max")}]
    from_host = name in ("file", "config", "folder", "class_folder", "sampler_name", "scheduler")
    return [options.get("default"), *([] if from_host or "options" not in options else [options["options"]])]


def undocumented() -> list[str]:
    """Inputs, outputs and nodes that lack a tooltip, a description or search aliases."""
    missing = []
    for node_id, cls in own().items():
        info = cls.GET_NODE_INFO_V1()
        missing += [node_id for name in ("description", "search_aliases", "display_name") if not info[name]]
        for section in ("required", "optional"):
            missing += [
                f"{node_id}.{name}"
                for name, spec in info["input"].get(section, {}).items()
                if not spec[1].get("tooltip")
            ]
        missing += [
            f"{node_id} → {name}"
            for name, tip in zip(info["output_name"], info["output_tooltips"], strict=True)
            if not tip
        ]
    return missing


def environment() -> dict[str, Any]:
    return {"legacy": sorted(name for name in vars(pack()) if "MAPPINGS" in name), "web": pack().WEB_DIRECTORY}


def pack() -> Any:
    module = next(iter(own().values())).__module__
    return sys.modules[module.partition(".nodes.")[0]]
