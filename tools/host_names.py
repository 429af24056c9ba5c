"""Which names of ComfyUI the pack uses, and which of them a checkout lacks.

    python -m tools.host_names CHECKOUT

Both are only read, so the checkout needs no environment: what nodes/ imports from the host, the attributes it
takes from that (`io.Combo.Input`) and the keywords it calls them with are looked up in the checkout's sources.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
HOST = {
    "comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "latent_preview",
    "node_helpers", "nodes", "server",
}  # fmt: skip
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Use:
    """A name of the host in the pack's code.

    name: from the host's top, "comfy.samplers.KSAMPLER"
    keywords: of the call, if it is one
    place: "nodes/sampling.py:12"
    """

    name: str
    keywords: tuple[str, ...]
    place: str


def uses_of(source: str, file: str) -> Iterator[Use]:
    """The host's names in one file of the pack."""
    nodes = list(ast.walk(ast.parse(source)))
    bound: dict[str, str] = {}  # name in the file → name from the host's top
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                name, top = module + alias.name, (module + alias.name).partition(".")[0]
                if top in HOST:
                    bound[alias.asname or (alias.name if module else top)] = name if alias.asname or module else top
                    yield Use(name, (), f"{file}:{node.lineno}")
    calls = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        names = _chain(node)
        if isinstance(node, ast.Attribute | ast.Name) and names and names[0] in bound:
            call = calls.get(id(node))
            keywords = tuple(word.arg for word in call.keywords if word.arg) if call else ()
            yield Use(".".join([bound[names[0]], *names[1:]]), keywords, f"{file}:{node.lineno}")


def _chain(node: ast.AST) -> list[str]:
    """`a.b.c` as its names; nothing for other expressions."""
    if isinstance(node, ast.Name):
        return [node.id]
    before = _chain(node.value) if isinstance(node, ast.Attribute) else []
    return [*before, node.attr] if before and isinstance(node, ast.Attribute) else []


@dataclass(frozen=True)
class Module:
    """A module of the checkout. path: without ".py"; a package's folder."""

    path: Path

    @cached_property
    def bindings(self) -> dict[str, ast.AST]:
        """Names bound at the top, also inside `if` and `try`; "*" stands for a star import."""
        file = self.path / "__init__.py" if self.path.is_dir() else self.path.with_suffix(".py")
        return dict(_bindings(ast.parse(file.read_text(encoding="utf-8")).body)) if file.exists() else {}

    @property
    def package(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent


@dataclass(frozen=True)
class Defined:
    """A class or function of a module."""

    module: Module
    node: Definition


Found = Module | Defined | None  # None: it is there, and what it has cannot be read from the sources


class Missing(LookupError):
    """The name that is not there."""


def _bindings(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, Definition):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield (
                    alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name),
                    node,
                )
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((part.id, node) for part in ast.walk(target) if isinstance(part, ast.Name))
        for inner in ("body", "orelse", "finalbody") if isinstance(node, ast.If | ast.Try | ast.With) else ():
            yield from _bindings(getattr(node, inner, ()))
        for handler in getattr(node, "handlers", ()):
            yield from _bindings(handler.body)


class Checkout:
    """Names in the sources of a ComfyUI checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[Path, Module | None] = {}

    def module(self, path: Path) -> Module | None:
        """The module or package at a path without ".py", read once; None where there is none."""
        if path not in self._modules:
            there = path.is_dir() or path.with_suffix(".py").is_file()
            self._modules[path] = Module(path) if there else None
        return self._modules[path]

    def find(self, name: str) -> Found:
        """What a dotted name stands for. Raises Missing."""
        top, *rest = name.split(".")
        found: Found = self.module(self.root / top)
        if found is None:
            raise Missing(top)
        for number, part in enumerate(rest, 1):
            if found is None:
                return None
            found = self.member(found, part, ".".join([top, *rest[:number]]))
        return found

    def member(self, owner: Module | Defined, name: str, full: str) -> Found:
        """What `owner.name` stands for; `full` is how Missing calls it."""
        if isinstance(owner, Defined):
            return self._class_member(owner, name, full)
        if node := owner.bindings.get(name):
            return self._bound(owner, name, node)
        if submodule := self.module(owner.path / name):
            return submodule
        if star := owner.bindings.get("*"):
            source = self._imported(owner, star, None)
            return None if source is None else self.member(source, name, full)
        raise Missing(full)

    def _bound(self, module: Module, name: str, node: ast.AST) -> Found:
        if isinstance(node, Definition):
            return Defined(module, node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            return self._imported(module, node, name)
        value = getattr(node, "value", None)
        names = _chain(value) if value else []
        if not names or names[0] == name or names[0] not in module.bindings:
            return None
        found: Found = self._bound(module, names[0], module.bindings[names[0]])  # an alias
        for part in names[1:]:
            found = found and self.member(found, part, part)
        return found

    def _imported(self, module: Module, node: ast.AST, name: str | None) -> Found:
        """What an import binds to `name`; without a name, the module it imports from."""
        if isinstance(node, ast.Import):
            alias = next(a for a in node.names if name in (a.asname, a.name.partition(".")[0]))
            target = alias.name if alias.asname else alias.name.partition(".")[0]
            return self.find(target) if self.module(self.root / target.partition(".")[0]) else None
        assert isinstance(node, ast.ImportFrom)
        folder = module.package if node.level else self.root
        for _ in range(node.level - 1):
            folder = folder.parent
        source = self.module(folder.joinpath(*(node.module or "").split(".")) if node.module else folder)
        if source is None or name is None:
            return source
        original = next(a.name for a in node.names if name in (a.asname, a.name))
        return self.member(source, original, f"{node.module or ''}.{original}".lstrip("."))

    def _class_member(self, owner: Defined, name: str, full: str) -> Found:
        if not isinstance(owner.node, ast.ClassDef):
            return None
        own = dict(_bindings(owner.node.body))
        if name in own:
            return self._bound(owner.module, name, own[name]) if isinstance(own[name], Definition) else None
        for base in self._bases(owner):
            if base is None:
                return None
            try:
                return self._class_member(base, name, full)
            except Missing:
                continue
        raise Missing(full)

    def _bases(self, owner: Defined) -> Iterator[Defined | None]:
        """The classes it inherits from; None for those that the sources do not hold."""
        assert isinstance(owner.node, ast.ClassDef)
        for base in owner.node.bases:
            names = _chain(base)
            found: Found = owner.module if names and names[0] in owner.module.bindings else None
            for part in names:
                found = found and self.member(found, part, part)
            yield found if isinstance(found, Defined) else None

    def keywords(self, found: Found) -> set[str] | None:
        """Keywords that a call takes; None where the sources do not tell."""
        if not isinstance(found, Defined):
            return None
        node = found.node
        if not isinstance(node, ast.ClassDef):
            arguments = node.args
            names = {argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
            return None if arguments.kwarg else names
        own = {part.name: part for part in node.body if isinstance(part, Definition)}
        if "__init__" in own:
            return self.keywords(Defined(found.module, own["__init__"]))
        fields = {
            part.target.id
            for part in node.body
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
        }
        for base in self._bases(found):
            more = self.keywords(base)
            if more is None:
                return None
            fields |= more
        return fields


def lacking(checkout: Checkout, uses: Iterable[Use]) -> dict[str, set[str]]:
    """Names and keywords that the checkout does not have, each with its places in the pack."""
    absent: dict[str, set[str]] = {}
    for use in sorted(uses):
        try:
            known = checkout.keywords(checkout.find(use.name))
        except Missing as missing:
            wrong = [str(missing)]
        else:
            wrong = [f"{use.name}({word}=…)" for word in use.keywords if known is not None and word not in known]
        for name in wrong:
            absent.setdefault(name, set()).add(use.place)
    return absent


def uses_of_pack(pack: Path = PACK) -> list[Use]:
    files = [pack / "__init__.py", *sorted((pack / "nodes").rglob("*.py"))]
    return [use for path in files for use in uses_of(path.read_text(encoding="utf-8"), str(path.relative_to(pack)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="folder of a ComfyUI checkout")
    root = parser.parse_args().checkout
    if not (root / "folder_paths.py").is_file():
        sys.exit(f"{root} is not a ComfyUI checkout: it has no folder_paths.py")
    uses = uses_of_pack()
    absent = lacking(Checkout(root), uses)
    for name, places in absent.items():
        print(f"{name}: {', '.join(sorted(places))}")
    print(f"{len({use.name for use in uses})} names of the host are used, {len(absent)} are not in {root}")
    sys.exit(bool(absent))


if __name__ == "__main__":
    main()
