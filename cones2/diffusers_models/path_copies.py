"""Copies of networks that share every weight but some."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def with_parameters(module: nn.Module, weights: Mapping[str, Tensor]) -> Any:
    """The module with other tensors as the named parameters; the given module is left as it is.

    Only the modules on the way to these parameters are copied, all else is shared. A tensor that is no
    nn.Parameter becomes one that needs no gradient. Raises KeyError for a parameter that the module lacks.
    """
    root, copied = _copy(module), dict[str, nn.Module]()
    for name, weight in weights.items():
        path, _, parameter = name.rpartition(".")
        owner = _copied_at(root, path, copied)
        if parameter not in owner._parameters:
            raise KeyError(name)
        frozen = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight, requires_grad=False)
        owner._parameters[parameter] = frozen
    return root


def with_module(module: nn.Module, name: str, other: nn.Module) -> Any:
    """The module with another one in the place of that name; the given module is left as it is."""
    root = _copy(module)
    path, _, child = name.rpartition(".")
    _copied_at(root, path, {})._modules[child] = other
    return root


def _copied_at(root: nn.Module, path: str, copied: dict[str, nn.Module]) -> nn.Module:
    """The module at a path below the root, it and all on the way being copies of this root alone."""
    here, walked = root, ""
    for step in path.split(".") if path else ():
        walked = f"{walked}.{step}"
        if walked not in copied:
            copied[walked] = _copy(here._modules[step])
            here._modules[step] = copied[walked]
        here = copied[walked]
    return here


def _copy(module: Any) -> nn.Module:
    twin: nn.Module = copy.copy(module)
    twin._modules = dict(module._modules)
    twin._parameters = dict(module._parameters)
    return twin
