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
