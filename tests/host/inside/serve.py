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
from functools import lru_cache
from types import ModuleType
from typing import Any

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import hostboot  # noqa: E402

import folder_paths  # noqa: E402
import nodes  # noqa: E402
from comfy.cli_args import args  # noqa: E402

import hostkit  # noqa: E402


def load_nodes() -> None:
    """Load the host's extra nodes that tests use, then every pack in the base directory's custom_nodes."""
    for name in os.environ.get("CONES2_EXTRA_NODES", "").split(","):
        path = os.path.join(hostboot.HOST, "comfy_extras", f"{name}.py")
        assert not name or asyncio.run(nodes.load_custom_node(path, module_parent="comfy_extras"))
    args.disable_all_custom_nodes = False
    asyncio.run(nodes.init_external_custom_nodes())


@lru_cache(maxsize=None)
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
    with hostkit.warnings_of() as warnings:
        load_nodes()
    packs = {name: os.path.basename(path) for name, path in nodes.LOADED_MODULE_DIRS.items()}
    ready = {"ready": True, "warnings": warnings, "packs": packs, "roots": folder_paths.base_path}
    answers.write(json.dumps(ready) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
