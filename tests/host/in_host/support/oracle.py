"""Layout guidance on transformers written out with masks of all pairs, and attention functions of other nodes."""

from typing import Any

import torch
from tiny_transformers import Family
from torch import Tensor

OVERRIDE = "optimized_attention_override"


def with_override(model: Any, override: Any) -> Any:
    """A clone with another node's attention override."""
    clone = model.clone()
    clone.model_options["transformer_options"][OVERRIDE] = override
    return clone


def split(q: Tensor, k: Tensor, v: Tensor, heads: int, given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """[B, heads, T, d], however a model writes them."""
    if given.get("skip_reshape"):
        return q, k, v
    parts = (x.unflatten(-1, (heads, -1)) if x.ndim == 3 else x for x in (q, k, v))
    q, k, v = (x.transpose(1, 2) for x in parts)
    return q, k, v


def arguments(args: tuple, given: dict[str, Any]) -> dict[str, Any]:
    names = ("q", "k", "v", "heads", "mask", "attn_precision", "skip_reshape", "skip_output_reshape")
    return {**dict(zip(names, args, strict=False)), **given}


def is_place(family: Family, lengths: tuple[int, int], grid: tuple[int, int], rows: int) -> bool:
    """Whether a call of so many queries and keys is one of the picture with its prompt."""
    cells = grid[0] * grid[1]
    return min(lengths) >= family.start(rows)[1] + cells if family.joint else lengths == (cells, rows)


class Oracle:
    """An override for a model without layouts: the formula in double precision, as one mask of all pairs.

    layouts: BoundLayout of each list's conditioning by its index (0: positive).
    before: tokens that the host puts before the prompt. references: where reference pictures stand in a call.
    """

    def __init__(
        self,
        family: Family,
        layouts: dict[int, Any],
        grid: tuple[int, int],
        rows: int,
        before: int = 0,
        flow: bool = True,
        references: tuple[range, ...] = (),
    ) -> None:
        self.family, self.layouts, self.grid, self.rows, self.before = family, layouts, grid, rows, before
        self.flow, self.references, self.words = flow, references, True
        self.picture_rows: tuple[range, ...] = ()

    def __call__(self, function: Any, *args: Any, **given: Any) -> Tensor:
        call = arguments(args, given)
        lengths = call["q"].shape[-2], call["k"].shape[-2]
        here = is_place(self.family, lengths, self.grid, self.rows)
        if here:
            q, k, _ = split(call["q"], call["k"], call["v"], call["heads"], call)
            bias = self.bias(q, k, call["transformer_options"])
            own = call.get("mask")
            call["mask"] = bias if own is None else bias + (own if own.ndim == 4 else own[:, None])
        return function(**call)

    def bias(self, q: Tensor, k: Tensor, options: dict[str, Any]) -> Tensor:
        text, cell = self.family.start(self.rows)
        text += self.before
        cells = slice(cell, cell + self.grid[0] * self.grid[1])
        level = options["sigmas"].double()[0]
        sigma = (level / (1 - level) if self.flow else level).clamp(max=14.6146)
        bias = torch.zeros(len(q), 1, q.shape[2], k.shape[2], dtype=torch.float64)
        for number, index in enumerate(options["cond_or_uncond"]):
            bound = self.layouts.get(index)
            if bound is None:
                continue
            weights = (
                bound.maps.copy().at(*self.grid).double()
                if bound.maps.groups
                else torch.zeros(cells.stop - cells.start, 0)
            )
            columns = [text + token for token in bound.maps.token_indices]
            size = len(q) // len(options["cond_or_uncond"])
            for entry in range(number * size, (number + 1) * size):
                own = k[entry][:, [text + token for token in bound.own]].double()
                std = (q[entry][:, cells].double() @ own.mT).std()
                term = (std * torch.log1p(sigma**2) * bound.guidance_weight * weights).clamp(-(2.0**14), 2.0**14)
                bias[entry, 0, cells, columns] = term * q.shape[-1] ** -0.5 * self.words
                if "words" in bound.closed:
                    bias[entry, 0, columns, cells] = term.T.clamp(max=0) * q.shape[-1] ** -0.5 * self.words
                if bound.pictures is not None:
                    self.bind(bias[entry, 0, cells], q[entry][:, cells].double(), k[entry].double(), bound.pictures)
                    if "references" in bound.closed:
                        self.close(bias[entry, 0], cells, bound.pictures.token_indices, q.shape[-1] ** -0.5)
        return bias.to(q.dtype)

    def bind(self, bias: Tensor, q: Tensor, k: Tensor, maps: Any) -> None:
        """Adds what binds reference pictures to the cells' rows of a mask [N, T]."""
        places = [self.references[number - 1] for number in maps.token_indices]
        std = (q @ torch.cat([k[:, place] for place in places], 1).mT).std()
        weights = maps.copy().at(*self.grid).double()
        for column, place in enumerate(places):
            term = (0.3 * std * weights[:, column]).clamp(-(2.0**14), 2.0**14)
            bias[:, place] = term[:, None] * q.shape[-1] ** -0.5
            for rows in self.picture_rows[maps.token_indices[column] - 1 : maps.token_indices[column]]:
                bias[:, rows] = term[:, None] * q.shape[-1] ** -0.5

    def close(self, bias: Tensor, cells: slice, pictures: tuple[int, ...], scale: float) -> None:
        """Adds to a mask [T, T] that bound pictures read neither cells outside their region nor each other."""
        places = [self.references[number - 1] for number in pictures]
        for place in places:
            bias[place, cells] = bias[cells, place].T.clamp(max=0)
            for other in places:
                if other is not place:
                    bias[place.start : place.stop, other.start : other.stop] = -(2.0**14) * scale


class Watcher:
    """Another node's override that sees every call, and where steered ones put their attention.

    inside: of each batch entry and subject the shares of its tokens' attention inside the left half of the picture.
    """

    def __init__(self, family: Family, grid: tuple[int, int], rows: int, groups: list[tuple[int, ...]]) -> None:
        self.family, self.grid, self.rows, self.groups = family, grid, rows, groups
        self.calls = self.steered = 0
        self.left: dict[tuple[int, int], list[float]] = {}
        self.mass: dict[tuple[int, int], list[float]] = {}

    def __call__(self, function: Any, *args: Any, **given: Any) -> Tensor:
        call = arguments(args, given)
        if call["transformer_options"].get("cond_or_uncond") is None:
            return function(*args, **given)  # the pack tries out what it is
        self.calls += 1
        lengths = call["q"].shape[-2], call["k"].shape[-2]
        if is_place(self.family, lengths, self.grid, self.rows):
            q, k, _ = split(call["q"], call["k"], call["v"], call["heads"], call)
            self.steered += "scale" in given if self.family.joint else call.get("mask") is not None
            self.look(q, k, call)
        return function(*args, **given)

    def look(self, q: Tensor, k: Tensor, call: dict[str, Any]) -> None:
        text, cell = self.family.start(self.rows)
        cells = slice(cell, cell + self.grid[0] * self.grid[1])
        scores = q[:, :, cells].float() @ k.float().mT * call.get("scale", q.shape[-1] ** -0.5)
        if call.get("mask") is not None:
            scores = scores + call["mask"][:, :, cells].float() if call["mask"].shape[-2] > 1 else scores
        shares = scores.softmax(-1).mean(1)
        left = (torch.arange(self.grid[1]) < self.grid[1] // 2).repeat(self.grid[0])
        for entry in range(len(q)):
            for number, group in enumerate(self.groups):
                mass = shares[entry][:, [text + token for token in group]].sum(-1)
                self.left.setdefault((entry, number), []).append(float(mass[left].sum() / mass.sum()))
                self.mass.setdefault((entry, number), []).append(float(mass[left if number == 0 else ~left].mean()))


def drops_masks(function: Any, *args: Any, **given: Any) -> Tensor:
    """What some nodes with a faster attention do."""
    return function(**{**arguments(args, given), "mask": None})


def rounds_to_int8(function: Any, *args: Any, **given: Any) -> Tensor:
    """What quantized attention does: one scale for all columns of a query."""
    call = arguments(args, given)
    for name in ("q", "k"):
        step = call[name].abs().amax(-1, keepdim=True).clamp_min(1e-9) / 127
        call[name] = (call[name] / step).round() * step
    return function(**call)
