"""G3 and G4: whole sampling runs of the published codes against the engine under their rules."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cones2.concepts.residual import PlacedResidual, make_residual
from cones2.diffusers_models.latent_model import DiffusersModel, to_images
from cones2.guidance.cross_attention import LayoutBias
from cones2.layout.colors import parse_color
from cones2.layout.painted import ColorEntry
from cones2.published.rules import PUBLISHED_RULES
from cones2.rules import GuidanceSettings
from cones2.sampling.euler import SeededNoise, StepInfo
from cones2.sampling.settings import SamplingSettings
from cones2.scene import Scene, bind
from tests.parity.maps import published_grid
from tests.parity.models import ReferenceModels
from tests.parity.references import Case, ParityError, References, map_shapes, noise_of, stack_steps
from tests.parity.report import Figure, NotApplicable, Outcome, difference, mismatches

LATENTS = {"v_prediction": 1e-4, "epsilon": 5e-3}
EMBEDDINGS = 1e-4
NOISE_LEVELS = 1e-5
_RULES = {"cones2": PUBLISHED_RULES["cones2"], "mcp": PUBLISHED_RULES["multi-concept"]}


@dataclass
class Trace:
    """What a run showed: latents after each outer step, UNet inputs and outputs of the first calls,
    and the σ of the attention term once per forward."""

    steps: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    forwards: int = 0
    sigmas: dict[int, float] = field(default_factory=dict)

    def after_step(self, info: StepInfo) -> None:
        self.steps.append(info.latents)

    def unet_hook(self, _: Any, args: tuple[Any, ...], output: Any) -> None:
        if self.forwards < 2:
            self.inputs.append(args[0].clone())
            self.outputs.append(output.sample.clone())
        self.forwards += 1


@dataclass(frozen=True, eq=False)
class TracedBias(LayoutBias):
    """Layout guidance that notes the σ it is called with."""

    trace: Trace = field(default_factory=Trace)

    def bias(self, q: Tensor, k: Tensor, grid: tuple[int, int], growth: float) -> Tensor:
        self.trace.sigmas[self.trace.forwards] = math.sqrt(math.expm1(growth))
        return super().bias(q, k, grid, growth)


def run_sampling(case: Case, references: References, models: ReferenceModels) -> Outcome:
    """Run one G3 or G4 case and compare everything it stores."""
    data = case.data
    if data.get("error"):
        raise NotApplicable(f"the published code failed: {data['error']}")
    if data.get("code") not in _RULES:
        raise ParityError(f'{case.name} is of the code "{data.get("code")}", known are {", ".join(_RULES)}')
    model, settings = models.for_case(case), _settings(case)
    picture = references.layout(case)
    _check_geometry(data, model, settings, picture)
    scene = _scene(case, references, model, picture)
    trace, latents = _traced_run(model, scene, settings)
    outcome = Outcome(case.name)
    outcome.figures += _schedule_figures(case, model, settings, trace)
    outcome.figures += _conditioning_figures(case, scene)
    outcome.figures += _noise_figures(case, references, model, settings)
    outcome.figures += _latent_figures(case, model, scene, settings, trace)
    outcome.figures += _picture_figures(case, references, model.decode(latents))
    return outcome


def _settings(case: Case) -> SamplingSettings:
    data = case.data
    height, width = _picture_size(case)
    return SamplingSettings(
        steps=int(data["inference_steps"]),
        guided_steps=int(data["guidance_steps"]),
        cfg=float(data["cfg_scale"]),
        seeds=(int(data["seed"]),),
        height=height,
        width=width,
    )


def _picture_size(case: Case) -> tuple[int, int]:
    """(height, width) in pixels: from stored latents, which are 8 times smaller, else the resolution."""
    stored = case.tensors.get("latents_after_outer_step")
    if stored is not None:
        return int(stored.shape[-2]) * 8, int(stored.shape[-1]) * 8
    side = case.data["resolution"]
    return (int(side[0]), int(side[1])) if isinstance(side, list) else (int(side), int(side))


def _check_geometry(
    data: dict[str, Any], model: DiffusersModel, settings: SamplingSettings, picture: Image.Image | None
) -> None:
    """Raise NotApplicable when the published maps are scrambled at one of the UNet's layers."""
    if picture is None or not settings.guided_count or not data["color_context"]:
        return
    for level in range(len(model.unet.config.block_out_channels)):
        grid = math.ceil(settings.height / 8 / 2**level), math.ceil(settings.width / 8 / 2**level)
        published = published_grid(math.prod(grid), picture.height, picture.width, map_shapes(data))
        if published != grid:
            raise NotApplicable(f"the published code uses its {published[0]}x{published[1]} map at {grid[0]}x{grid[1]}")


def _scene(case: Case, references: References, model: DiffusersModel, picture: Image.Image | None) -> Scene:
    data = case.data
    residuals: list[PlacedResidual] = []
    for subject, row in data["subject_list"]:
        tensor = references.residual(data["residual_dict"][subject])
        residual = make_residual(subject, tensor)
        residuals.append(PlacedResidual(residual, [tuple(range(row, row + residual.token_num))]))
    table = [
        ColorEntry(parse_color(color), phrase, float(weight))
        for color, (phrase, weight) in data["color_context"].items()
    ]
    rules = _RULES[data["code"]]
    layout = rules.read_layout(picture, table, tolerance=0) if picture is not None and table else None
    guidance = GuidanceSettings(float(data["guidance_weight"]), float(data["weight_negative"]))
    prompt, negative = model.encode_prompts(data["prompt"], "", format=rules.prompt_format)
    return bind(model, prompt, negative, residuals, layout, guidance, rules=rules)


def _traced_run(model: DiffusersModel, scene: Scene, settings: SamplingSettings) -> tuple[Trace, Tensor]:
    trace = Trace()
    terms = [TracedBias(term.maps, term.guidance_weight, term.joint_batch, trace) for term in scene.terms]
    hook = model.unet.register_forward_hook(trace.unet_hook)
    try:
        latents = model.sample(replace(scene, terms=tuple(terms)), settings, callback=trace.after_step)
    finally:
        hook.remove()
    return trace, latents


def _schedule_figures(case: Case, model: DiffusersModel, settings: SamplingSettings, trace: Trace) -> list[Figure]:
    stored, figures = case.tensors, []
    schedules = {"": model.noise.schedule(settings.steps)}
    if settings.guided_count:
        schedules["_guidance"] = model.noise.schedule(settings.guided_count)
    for suffix, schedule in schedules.items():
        for name, ours in (("timesteps", schedule.timesteps), ("sigmas", schedule.sigmas)):
            if name + suffix in stored:
                figures.append(difference(name + suffix, ours, stored[name + suffix], NOISE_LEVELS))
    if "init_noise_sigma" in case.data:
        error = abs(float(schedules[""].sigmas.max()) - case.data["init_noise_sigma"])
        figures.append(Figure("init_noise_sigma", error, NOISE_LEVELS))
    if trace.sigmas and "sigma_seen_by_attention" in case.data:
        ours = torch.tensor([trace.sigmas[forward] for forward in sorted(trace.sigmas)][::2])
        seen = torch.tensor(case.data["sigma_seen_by_attention"])
        figures.append(difference("sigma_seen_by_attention", ours, seen, NOISE_LEVELS))
    if "unet_calls" in case.data:  # the published code calls it once per prompt, we once for both
        figures.append(Figure("unet_calls", float(abs(2 * trace.forwards - case.data["unet_calls"])), 0.0))
    return figures


def _conditioning_figures(case: Case, scene: Scene) -> list[Figure]:
    figures = []
    if "token_ids_cond_len" in case.data:
        figures.append(
            mismatches("conditioning rows", [scene.positive.embeds.shape[1]], [case.data["token_ids_cond_len"]])
        )
    for prefix, ours in (("cond", scene.positive.embeds), ("uncond", scene.negative.embeds)):
        for name, stored in case.tensors.items():
            if name.startswith(f"{prefix}_embeddings_rows"):
                first, last = (int(part) for part in name.rpartition("rows")[2].split("_"))
                figures.append(difference(name, ours[:, first : last + 1], stored, EMBEDDINGS))
    return figures


def _noise_figures(
    case: Case, references: References, model: DiffusersModel, settings: SamplingSettings
) -> list[Figure]:
    initial, draws = noise_of(case, references)
    shape = (model.unet.config.in_channels, settings.height // 8, settings.width // 8)
    noise = SeededNoise(settings.seeds, shape)
    figures = [] if initial is None else [difference("latents_init_unit", noise(), initial, 0.0)]
    if initial is None:
        noise()
    count = int(case.data.get("n_recurrent_noises", 0 if draws is None else len(draws)))
    ours = torch.cat([noise() for _ in range(count)]) if count else torch.zeros(0)
    if draws is not None:
        figures.append(difference("recurrence noise", ours[: len(draws)], draws, 0.0))
    if count and (digest := case.data.get("recurrent_noise_sha256")):
        same = hashlib.sha256(ours.contiguous().numpy().astype("<f4").tobytes()).hexdigest() == digest
        figures.append(Figure("recurrence noise, sha256", float(not same), 0.0))
    return figures


def _latent_figures(
    case: Case, model: DiffusersModel, scene: Scene, settings: SamplingSettings, trace: Trace
) -> list[Figure]:
    stored, tolerance = case.tensors, LATENTS[case.data["prediction_type"]]
    figures = []
    for name in sorted(stored):
        if name.startswith("unet_call_"):
            call, _, end = name.removeprefix("unet_call_").partition(".")
            ours = _unet_call(model, scene, settings, trace, int(call), end)
            figures.append(difference(name, ours, stored[name], tolerance))
    if (first := stored.get("latents_after_first_pass_step_0")) is not None:
        ours = _first_pass(model, settings, trace)
        figures.append(difference("latents_after_first_pass_step_0", ours, first, tolerance))
    if "latents_after_outer_step" in stored:
        steps = stack_steps(stored["latents_after_outer_step"])
        for latents, step in zip(steps, case.data["latents_after_outer_step_indices"], strict=True):
            figures.append(difference(f"latents after step {step}", trace.steps[step][0], latents, tolerance))
    return figures


def _unet_call(
    model: DiffusersModel, scene: Scene, settings: SamplingSettings, trace: Trace, call: int, end: str
) -> Tensor:
    """Input or output of the published UNet call: even ones are the prompt's, odd ones the negative prompt's."""
    seen = trace.inputs if end == "in" else trace.outputs
    halves = seen[call // 2]
    if len(halves) == 1 and call % 2 and end == "out":  # cfg 1 leaves the negative prompt out
        step = 0 if settings.guided_count else call // 2
        timestep = model.noise.schedule(settings.steps).timesteps[step].float()
        with torch.inference_mode():
            return model.unet(trace.inputs[call // 2], timestep, encoder_hidden_states=scene.negative.embeds).sample  # type: ignore[no-any-return]
    return halves[-1:] if call % 2 == 0 else halves[:1]


def _first_pass(model: DiffusersModel, settings: SamplingSettings, trace: Trace) -> Tensor:
    """Latents between the first pass and the recurrence noise, from what the second pass was given."""
    sigmas = model.noise.schedule(settings.steps).sigmas
    noise = SeededNoise(settings.seeds, trace.steps[0].shape[1:])
    noise()
    renoised = trace.inputs[1][-1:] * (sigmas[0] ** 2 + 1).sqrt()
    return renoised - noise() * (sigmas[0] ** 2 - sigmas[1] ** 2).sqrt()


def _picture_figures(case: Case, references: References, decoded: Tensor) -> list[Figure]:
    tolerance, figures = LATENTS[case.data["prediction_type"]], []
    if (crop := case.tensors.get("decoded_float_crop32")) is not None:
        ours = decoded[..., : crop.shape[-2], : crop.shape[-1]]
        figures.append(difference("decoded_float_crop32", ours, crop, tolerance))
    path = case.path.with_suffix(".final.png")
    if path.is_file():
        with Image.open(path) as image:
            final = torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32))
        ours = torch.from_numpy(np.asarray(to_images(decoded)[0]).astype(np.float32))
        # a value on the edge between two levels may fall either way
        wrong = int(((ours - final).abs() > 1).sum()) if ours.shape == final.shape else math.inf
        figures.append(Figure("final picture (values off by more than 1 of 255)", float(wrong), 0.0))
    return figures
