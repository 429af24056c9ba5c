"""Who may import whom: the engine's rooms stand on floors, and nobody imports upwards."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "cones2").rglob("*.py"))
}
FLOORS = (
    ("messages", "ranges"),
    ("errors", "assets"),
    ("storage",),
    ("layout", "prompt", "sampling"),
    ("families", "guidance"),
    ("concepts", "picture_adapter", "custom_diffusion"),
    ("rules",),
    ("presets",),
    ("scene",),
    ("published",),
    ("training",),
    ("diffusers_models",),
    ("evaluation",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

LIBRARIES = {"torch", "numpy", "PIL", "safetensors"}
MORE_LIBRARIES = {
    "diffusers_models": {"diffusers", "transformers"},
    "evaluation": {"transformers"},
    "cli": {"accelerate", "tqdm", "yaml"},
}
HEAVY = ("accelerate", "diffusers", "transformers")


def imported(module: str) -> Iterator[str]:
    """Dotted names of all that a module of cones2 imports, also inside functions and for types."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room(dotted: str) -> str:
    """cones2.layout.colors → layout; the package itself → ""."""
    return dotted.removeprefix("cones2").removeprefix(".").partition(".")[0]


def arrows() -> set[tuple[str, str]]:
    """(room, room it imports), between different rooms; what `cones2/__init__.py` itself offers stands below all."""
    found = {
        (room(module), room(name)) for module in MODULES for name in imported(module) if name.startswith("cones2.")
    }
    return {(user, used) for user, used in found if user not in ("", used) and used in rooms()}


def rooms() -> set[str]:
    return {room(module) for module in MODULES} - {""}


def test_every_room_has_its_floor() -> None:
    assert rooms() == set(FLOOR_OF)


def test_nobody_imports_upwards() -> None:
    wrong = {(user, used) for user, used in arrows() if FLOOR_OF[user] <= FLOOR_OF[used]}
    assert not wrong


def test_the_engine_imports_neither_the_host_nor_the_nodes() -> None:
    for module in MODULES:
        allowed = {"cones2", *LIBRARIES, *MORE_LIBRARIES.get(room(module), ()), *sys.stdlib_module_names}
        assert {name.partition(".")[0] for name in imported(module)} <= allowed, module


def test_the_engine_is_imported_without_diffusers_and_transformers() -> None:
    light = [module for module in MODULES if room(module) not in ("diffusers_models", "cli", "evaluation", "__main__")]
    code = f"import importlib, sys\nfor name in {light}: importlib.import_module(name)\nprint(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {name.partition(".")[0] for name in shown.split()} & set(HEAVY)
