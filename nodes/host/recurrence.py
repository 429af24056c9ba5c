"""Sampling nodes: self-recurrence for any sampler, and a KSampler with a layout."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.samplers
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

import nodes as host_nodes

from ..cones2.errors import ModelError
from ..cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT, OutsideMode
from ..cones2.layout.regions import Layout
from ..cones2.sampling.euler import SeededNoise, StepInfo, sample_euler
from .guidance import Conditioning, guidance_weight_input, guide_conditioning, outside_mode_input, outside_weight_input
from .host.attention.hooks import KEY, install, run_guides
from .host.bound_layout import Window, guided_intervals
from .host.sockets import CATEGORY, LayoutSocket

log = logging.getLogger(__name__)

Callback = Callable[[dict[str, Any]], None]


class Cones2SelfRecurrence(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2SelfRecurrence",
            display_name="Self Recurrence (Cones 2)",
            category=CATEGORY,
            description="Repeats every step that a layout guides, which makes subjects follow it better. "
            "The guided steps run as Euler; your sampler does the rest. Guided steps take twice the time.",
            search_aliases=["recurrence", "resampling", "time travel", "restart"],
            inputs=[
                io.Sampler.Input(
                    "sampler", tooltip="The sampler for the steps that are not guided, such as KSamplerSelect's."
                )
            ],
            outputs=[
                io.Sampler.Output(
                    "recurrent_sampler",
                    display_name="sampler",
                    tooltip="Connect it to SamplerCustom or SamplerCustomAdvanced.",
                )
            ],
        )

    @classmethod
    def execute(cls, sampler: Any) -> io.NodeOutput:
        return io.NodeOutput(recurrent(sampler))


class Cones2LayoutGuidedKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Cones2LayoutGuidedKSampler",
            display_name="Layout Guided KSampler (Cones 2)",
            category=CATEGORY,
            description="KSampler that draws each subject of the positive prompt into its place.",
            search_aliases=["ksampler", "regional prompting", "layout", "sampler"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="An SD 1.x, SD 2.x or SDXL model, with or without LoRAs and other patches."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The random seed of the noise.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The number of denoising steps."),
                io.Float.Input(
                    "cfg",
                    default=7.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How closely the picture follows the prompt.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.KSampler.SAMPLERS,
                    tooltip="The sampler. With recurrence, guided steps run as Euler and the sampler does the rest.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    tooltip="How the noise falls from step to step.",
                ),
                io.Conditioning.Input(
                    "positive", tooltip="The positive prompt from Text Encode or Apply Residual (Cones 2)."
                ),
                io.Conditioning.Input("negative", tooltip="What the picture should not show. No layout applies to it."),
                io.Latent.Input(
                    "latent_image", tooltip="The latents to denoise: empty, or an encoded picture with denoise below 1."
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latents is replaced; below 1 their structure stays.",
                ),
                LayoutSocket.Input(
                    "layout", tooltip="Which subject belongs where. It is fitted to the size of the picture."
                ),
                guidance_weight_input(),
                io.Int.Input(
                    "guided_steps",
                    default=-1,
                    min=-1,
                    max=10000,
                    tooltip="How many steps, from the first, follow the layout. -1: all. 0: none, a plain KSampler.",
                ),
                io.Boolean.Input(
                    "recurrence",
                    default=True,
                    tooltip="Do every guided step twice (self-recurrence): it follows the layout better and takes "
                    "twice the time. Guided steps then run as Euler.",
                ),
                outside_mode_input(),
                outside_weight_input(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The denoised latents.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        denoise: float,
        layout: Layout,
        guidance_weight: float,
        guided_steps: int,
        recurrence: bool,
        negative_mode: OutsideMode,
        outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
    ) -> io.NodeOutput:
        window = Window(steps=None if guided_steps < 0 else guided_steps)
        positive = guide_conditioning(positive, layout, guidance_weight, window, negative_mode, outside_weight)
        model = install(model)
        if recurrence:
            model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, _sample_recurrent)
        (latent,) = host_nodes.common_ksampler(
            model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=denoise
        )
        return io.NodeOutput(latent)


def _sample_recurrent(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """SAMPLER_SAMPLE wrapper: puts the recurrent sampler in the place of the one that the host built."""
    executor.original = recurrent(executor.class_obj).sample
    return executor(*args, **kwargs)


def recurrent(sampler: Any) -> Any:
    """The sampler with self-recurrence on the steps that a layout guides.

    Those run as Euler steps, since stepping another sampler twice would break its history; the
    sampler itself runs once over the steps before and once over the steps after them.
    Raises ModelError for a sampler that is no KSAMPLER.
    """
    if not isinstance(sampler, comfy.samplers.KSAMPLER):
        raise ModelError(
            f"{type(sampler).__name__} steps in its own way and cannot be wrapped: use a sampler such as "
            f"KSamplerSelect's"
        )
    return comfy.samplers.KSAMPLER(
        _RecurrentFunction(sampler.sampler_function), sampler.extra_options, sampler.inpaint_options
    )


@dataclass(frozen=True, eq=False)
class _RecurrentFunction:
    """A sampler function (model, x, sigmas, ...) → x around another one."""

    function: Callable[..., Tensor]

    def __call__(
        self,
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callback | None = None,
        disable: bool | None = None,
        **options: Any,
    ) -> Tensor:
        guider = model.inner_model
        guided = guided_intervals(run_guides(guider), sigmas, guider.inner_model.model_sampling)
        extra_args = extra_args or {}

        def run(x: Tensor, first: int, last: int) -> Tensor:
            if first >= last:
                return x
            return self.function(
                model,
                x,
                sigmas[first : last + 1],
                extra_args=extra_args,
                callback=_shifted(callback, first),
                disable=disable,
                **options,
            )

        if not guided:
            return run(x, 0, len(sigmas) - 1)
        if len(guided) == len(sigmas) - 1:
            log.info("all steps are guided with recurrence and run as Euler: the chosen sampler has none to do")
        x = run(x, 0, guided.start)
        x = _euler(model, x, sigmas[guided.start : guided.stop + 1], extra_args, _shifted(callback, guided.start))
        return run(x, guided.stop, len(sigmas) - 1)


def _euler(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback: Callback) -> Tensor:
    """All steps as Euler steps with recurrence; each of their calls can be interrupted."""
    denoised = x

    def denoise(x: Tensor, step: int, guided: bool) -> Tensor:
        nonlocal denoised
        comfy.model_management.throw_exception_if_processing_interrupted()
        denoised = model(x, sigmas[step] * x.new_ones(x.shape[0]), **extra_args)
        return denoised

    def report(info: StepInfo) -> None:
        callback(
            {
                "i": info.step,
                "x": info.latents,
                "sigma": sigmas[info.step],
                "sigma_hat": sigmas[info.step],
                "denoised": denoised,
            }
        )

    return sample_euler(
        denoise, x, sigmas, len(sigmas) - 1, _recurrence_noise(x, extra_args.get("seed")), callback=report
    )


def _recurrence_noise(x: Tensor, seed: int | None) -> Callable[[], Tensor]:
    """Noise that continues the generator which drew the run's starting noise from the same seed."""
    noise = SeededNoise([seed or 0], x.shape, x.device)
    noise()
    return lambda: noise()[0].to(x.dtype)


def _shifted(callback: Callback | None, first: int) -> Callback:
    """The host's callback for a part of a run that starts at step `first`."""

    def shifted(info: dict[str, Any]) -> None:
        if callback is not None:
            callback({**info, "i": info["i"] + first})

    return shifted


NODES = [Cones2SelfRecurrence, Cones2LayoutGuidedKSampler]
