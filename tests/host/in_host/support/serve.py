"""The host in one process without its server: loads the pack as the host does, then runs driver functions.

Each line on stdin is a JSON request `{"file": …, "function": …, "arguments": {…}}`; each answer is one JSON
line on the original stdout. Everything else that prints goes to stderr.
"""

import asyncio
import importlib.util
import json
import os
import sys
import traceback
from functools import cache
from types import ModuleType
from typing import Any

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import hostboot  # noqa: E402  first import of the host: sets its options

# isort: split

import hostkit  # noqa: E402

import nodes  # noqa: E402


def load_extra_nodes() -> None:
    """Load those of the host's extra nodes that tests use."""
    for name in os.environ["CONES2_EXTRA_NODES"].split(","):
        path = os.path.join(hostboot.HOST, "comfy_extras", f"{name}.py")
        assert asyncio.run(nodes.load_custom_node(path, module_parent="comfy_extras"))


@cache
def driver(path: str) -> ModuleType:
    """The driver file as a module of its own."""
    spec = importlib.util.spec_from_file_location("driver_" + os.path.basename(path)[:-3], path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run one request; an exception travels as its type, its message and its traceback."""
    try:
        function = getattr(driver(request["file"]), request["function"])
        return {"value": function(**request["arguments"])}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}


def main() -> None:
    load_extra_nodes()
    with hostkit.warnings_of() as warnings:
        asyncio.run(nodes.init_external_custom_nodes())
    answers.write(json.dumps({"packs": sorted(nodes.LOADED_MODULE_DIRS), "warnings": warnings}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
