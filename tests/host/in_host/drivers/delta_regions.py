"""Drivers for deltas that act in regions alone: the host's forward against the formula written out."""

from functools import partial
from typing import Any

import hostkit
import scenes
import torch
from delta_files import apply, delta_folder, load, saved_delta
from image_adapters import NAMES, picture, vision, weights
from torch import Tensor

PROMPT = "a <new1> dog and a <new2> dog"
SIGMA = 5.0


def halves() -> Any:
    """The first dog on the left, the second on the right."""
    left = torch.zeros(12, 16)
    left[:, :8] = 1
    return hostkit.run_node(
        "Cones2LayoutFromMasks",
        masks={"mask0": left[None], "mask1": 1 - left[None]},
        subjects="<new1> dog\n<new2> dog",
        weight=2.5,
    )[0]


class Setup:
    """Two deltas of one class on a checkpoint, each in its half."""

    def __init__(self, name: str) -> None:
        self.model, self.clip, _ = hostkit.checkpoint(name)
        self.deltas = [load(saved_delta(self.model, f"region_{seed}.bin", seed)) for seed in (1, 2)]
        self.layout = halves()
        self.knowing = self.apply(self.model)[1]
        self.positive = scenes.encode(self.knowing, PROMPT)
        self.negative, self.start = hostkit.encode(self.clip, "blurry"), scenes.noise()

    def apply(self, model: Any, strength: float = 1.0) -> tuple[Any, Any]:
        clip = self.clip
        for delta in self.deltas:
            model, clip, _ = apply(model, clip, delta, strength, layout=self.layout)
        return model, clip

    def denoised(self, model: Any, positive: Any = None, start: Tensor | None = None, negative: Any = None) -> Tensor:
        return scenes.denoised(
            model,
            positive or self.positive,
            negative or self.negative,
            self.start if start is None else start,
            sigma=SIGMA,
        )

    def naive(self, guided: bool = False) -> Any:
        """The model with the formula written out in every layer."""
        clone = self.model.clone()
        for block, number, index in scenes.module("nodes.host.attention.unet").layer_keys(clone.model.diffusion_model):
            where = "middle_block" if block == "middle" else f"{block}_blocks.{number}"
            layer = f"diffusion_model.{where}.1.transformer_blocks.{index}.attn2"
            call = partial(self._attention, layer, guided)
            clone.set_model_attn2_replace(call, block, number, index)
        return clone

    def _changes(self, layer: str, part: str) -> list[Tensor]:
        base = self.model.model.state_dict()[f"{layer}.{part}.weight"].float()
        return [whole[f"model.{layer}.{part}.weight"] - base for whole in map(self._state, (1, 2))]

    def _state(self, seed: int) -> dict[str, Tensor]:
        return torch.load(delta_folder() / f"region_{seed}.bin", weights_only=True)["state_dict"]

    def _attention(self, layer: str, guided: bool, q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
        heads, grid = extra["n_heads"], tuple(extra["activations_shape"][-2:])
        out = scenes.module("nodes.host.attention.unet").attend(q, k, v, extra)
        kinds = extra["cond_or_uncond"]
        entries = [row for row in range(len(q)) if kinds[row * len(kinds) // len(q)] == 0]
        keys, values = self._changes(layer, "to_k"), self._changes(layer, "to_v")
        left = (torch.arange(grid[1]) < grid[1] / 2).repeat(grid[0])
        for row in entries:
            text = self.positive[0][0][0].float()
            text = text.repeat(k.shape[1] // len(text), 1)
            split = lambda x: x.unflatten(-1, (heads, -1)).transpose(0, 1).double()  # noqa: E731
            term = self._term(split(q[row]), split(k[row]), grid) if guided else 0.0
            for place, inside in enumerate((left, ~left)):
                more_k, more_v = k[row] + text @ keys[place].T, v[row] + text @ values[place].T
                scores = split(q[row]) @ split(more_k).mT + term
                attended = (scores * split(q[row]).shape[-1] ** -0.5).softmax(-1) @ split(more_v)
                out[row, inside] = attended.transpose(0, 1).flatten(1).to(out.dtype)[inside]
        return out

    def _term(self, q: Tensor, k: Tensor, grid: tuple[int, int]) -> Tensor:
        """The layout's, with the base model's keys: `<new1> dog` are tokens 2 and 3, `<new2> dog` 6 and 7."""
        weight = torch.zeros(q.shape[-2], k.shape[-2], dtype=torch.double)
        for subject, columns in zip(scenes._weights(self.layout, grid).values(), ((2, 3), (6, 7)), strict=True):
            weight[:, list(columns)] = subject.double()[:, None]
        return scenes.STRENGTH * weight * torch.log1p(torch.tensor(SIGMA).double() ** 2) * (q @ k.mT).std()


def formula(name: str, batch: int = 1, apart: bool = False) -> dict:
    """Two deltas of one class, each in its half, against the formula; and against both everywhere."""
    setup = Setup(name)
    start = scenes.noise(batch)
    negative = hostkit.encode(setup.clip, "sand and sea " * 120) if apart else None
    regional = setup.apply(setup.model)[0]
    before = setup.denoised(setup.model, start=start, negative=negative)
    found = setup.denoised(regional, start=start, negative=negative)
    everywhere = setup.model
    for delta in setup.deltas:
        everywhere = apply(everywhere, setup.clip, delta)[0]
    nothing = setup.apply(setup.model, 0.0)[0]
    return {
        "error": hostkit.relative_error(found, setup.denoised(setup.naive(), start=start, negative=negative)),
        "effect": hostkit.relative_error(found, before),
        "summed": hostkit.relative_error(found, setup.denoised(everywhere, start=start, negative=negative)),
        "zero": hostkit.identical(setup.denoised(nothing, start=start, negative=negative), before),
        "base": hostkit.identical(setup.denoised(setup.model, start=start, negative=negative), before),
    }


def beside_layout(name: str) -> dict:
    """Layout guidance before and after, against both formulas."""
    setup = Setup(name)
    guided_model, guided = scenes.guide(setup.model, setup.positive, setup.layout)
    after = setup.denoised(setup.apply(guided_model)[0], guided)
    before = setup.denoised(scenes.guide(setup.apply(setup.model)[0], setup.positive, setup.layout)[0], guided)
    return {
        "order": hostkit.relative_error(before, after),
        "error": hostkit.relative_error(after, setup.denoised(setup.naive(guided=True))),
        "effect": hostkit.relative_error(after, setup.denoised(guided_model, guided)),
    }


def beside_pictures(name: str) -> dict:
    """A picture adapter before and after."""
    setup = Setup(name)
    subject = hostkit.run_node("Cones2SubjectFromPictures", image=picture(0), subject=NAMES[0])[0]
    inputs = {"ipadapter": weights(setup.model), "subjects": {"subject0": subject}, "clip_vision": vision()}

    def adapted(model: Any) -> Any:
        return hostkit.run_node("Cones2ApplyMIPAdapter", model=model, clip=setup.clip, **inputs)[0]

    after = setup.denoised(setup.apply(adapted(setup.model))[0])
    return {
        "order": hostkit.relative_error(setup.denoised(adapted(setup.apply(setup.model)[0])), after),
        "effect": hostkit.relative_error(after, setup.denoised(adapted(setup.model))),
        "pictures": hostkit.relative_error(after, setup.denoised(setup.apply(setup.model)[0])),
    }


def refused(name: str) -> str:
    """The sentence for a layout that has no region for the concept."""
    model, clip, _ = hostkit.checkpoint(name)
    try:
        apply(model, clip, load(saved_delta(model, "region_1.bin", 1)), layout=scenes.layout())
    except ValueError as error:
        return str(error)
    return ""


def moved_once() -> bool:
    """Whether two parts of the picture share a concept's projections in the prompt's number format."""
    regional = scenes.module("cones2.guidance.regional")
    own = {"layer": regional.OwnProjections(torch.ones(2, 2))}
    concept = regional.RegionalProjections(torch.ones(4, 4, dtype=torch.bool), own)
    run, text = scenes.module("nodes.host.attention.regions")._Run(), torch.zeros(1, dtype=torch.float64)
    parts = [run.concepts_in([concept], area, text)[0] for area in ((0, 0, 0.5, 1), (0.5, 0, 0.5, 1), None)]
    return len({id(part.layers["layer"].keys) for part in parts}) == 1
