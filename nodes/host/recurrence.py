"""Self-recurrence around any sampler of the host: guided steps run as Euler steps and are done twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import comfy.model_management
import comfy.samplers
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...cones2.errors import ModelError
from ...cones2.sampling.euler import StepInfo, sample_euler
from ...cones2.sampling.noise import flow_renoise, renoise
from ...cones2.sampling.picture_noise import PictureNoise
from .attention.call import RUN_KEY
from .attention.hooks import KEY, follows_layouts, layouts_of_run
from .bound_layout import guided_steps
from .noise_level import is_flow

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.patcher_extension import WrapperExecutor

log = logging.getLogger(__name__)

Callback = Callable[[dict[str, Any]], None]


def recurrent(sampler: comfy.samplers.Sampler) -> RecurrentSampler:
    """The sampler with self-recurrence on the steps that a layout guides.

    Those run as Euler steps, since stepping another sampler twice would break its history; the
    sampler itself runs once over the steps before and once over the steps after them.
    Raises ModelError for a sampler that is not a KSAMPLER.
    """
    if not isinstance(sampler, comfy.samplers.KSAMPLER):
        raise ModelError(
            f"{type(sampler).__name__} steps in its own way and cannot be wrapped: use a sampler such as "
            "KSamplerSelect's"
        )
    if isinstance(sampler, RecurrentSampler):
        return sampler
    function = _RecurrentFunction(sampler.sampler_function)
    return RecurrentSampler(function, sampler.extra_options, sampler.inpaint_options)


def make_recurrent(model: ModelPatcher) -> None:
    """Let any sampler run with self-recurrence on this model."""
    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, _sample_recurrent)


def _sample_recurrent(executor: WrapperExecutor, *args: Any, **kwargs: Any) -> Any:
    """SAMPLER_SAMPLE hook: puts the recurrent sampler in the place of the one that the host built."""
    executor.original = recurrent(executor.class_obj).sample
    return executor(*args, **kwargs)


class RecurrentSampler(comfy.samplers.KSAMPLER):
    """A KSAMPLER that passes the starting noise, as it was without photos, on to its recurrent function."""

    def sample(
        self, model_wrap: Any, sigmas: Tensor, extra_args: dict[str, Any], callback: Any, noise: Tensor, *args: Any,
        **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        run = extra_args["model_options"].get("transformer_options", {}).get(RUN_KEY)
        start = noise if run is None or run.noise is None else run.noise
        function = replace(self.sampler_function, start=start)
        inner = comfy.samplers.KSAMPLER(function, self.extra_options, self.inpaint_options)
        samples: Tensor = inner.sample(model_wrap, sigmas, extra_args, callback, noise, *args, **kwargs)
        return samples


@dataclass(frozen=True, eq=False)
class _RecurrentFunction:
    """A sampler function (model, x, sigmas, ...) → x around another one.

    start: the starting noise [B, C, h, w], which identifies each picture; None: as the model knows it.
    """

    function: Callable[..., Tensor]
    start: Tensor | None = None

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
        guided, extra_args = _guided_steps(model.inner_model, sigmas), extra_args or {}

        def run(x: Tensor, first: int, last: int) -> Tensor:
            if first >= last:
                return x
            part, report = sigmas[first : last + 1], _shifted(callback, first)
            return self.function(model, x, part, extra_args=extra_args, callback=report, disable=disable, **options)

        if not guided:
            return run(x, 0, len(sigmas) - 1)
        name = getattr(self.function, "__name__", "")
        if len(guided) == len(sigmas) - 1 and name != "sample_euler":
            log.info("all steps are guided with recurrence and run as Euler: the chosen sampler has none to do")
        start = getattr(model, "noise", x) if self.start is None else self.start
        noise = PictureNoise(start, extra_args.get("seed") or 0)
        x = run(x, 0, guided.start)
        part = sigmas[guided.start : guided.stop + 1]
        x = _repeated_euler(model, x, part, noise, extra_args, _shifted(callback, guided.start))
        return run(x, guided.stop, len(sigmas) - 1)


def _repeated_euler(
    model: Any, x: Tensor, sigmas: Tensor, noise: PictureNoise, extra_args: dict[str, Any], callback: Callback
) -> Tensor:
    """All steps as Euler steps, done twice where σ falls. Each model call can be interrupted."""
    denoised = x

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal denoised
        comfy.model_management.throw_exception_if_processing_interrupted()
        denoised = cast(Tensor, model(x, sigma * x.new_ones(x.shape[0]), **extra_args))
        return denoised

    def report(info: StepInfo) -> None:
        sigma = sigmas[info.step]
        callback({"i": info.step, "x": info.latents, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

    renoised = flow_renoise if is_flow(model.inner_model.inner_model.model_sampling) else renoise

    def again(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return renoised(x, noise().to(x), sigma, sigma_next)

    return sample_euler(denoise, x, sigmas, len(sigmas) - 1, again, report)


def _guided_steps(guider: comfy.samplers.CFGGuider, sigmas: Tensor) -> range:
    """The steps to be repeated, those that a layout guides; none on a model that does not follow layouts."""
    layouts = layouts_of_run(guider)
    if layouts and not follows_layouts(guider.model_patcher):
        log.warning(
            "the conditioning carries a layout that this model does not follow, so the picture is made without: "
            "connect the model output of Apply Layout Guidance too"
        )
        return range(0)
    model_sampling = guider.inner_model.model_sampling
    steps = guided_steps(layouts, sigmas, model_sampling)
    if steps and is_flow(model_sampling) and float(sigmas[steps.start]) >= 1:
        return steps[1:]  # taken back to pure noise, nothing of the step would be left
    return steps


def _shifted(callback: Callback | None, first: int) -> Callback:
    """The host's callback for a part of a run that starts at step `first`."""

    def shifted(info: dict[str, Any]) -> None:
        if callback is not None:
            callback({**info, "i": info["i"] + first})

    return shifted
