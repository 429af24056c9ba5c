"""Drivers for self-recurrence: it does what it says, step by step and picture by picture."""

from itertools import pairwise
from typing import Any

import comfy.samplers
import hostkit
import scenes
import torch
from sampling_runs import LATENT, custom, parts, watched_calls
from torch import Tensor


def recurrence(name: str, guided_steps: int) -> dict:
    """Both nodes against Euler with recurrence written out on the guided model, the stock sampler doing the rest."""
    model, positive, negative, layout = parts(name)
    latent, steps = hostkit.empty_latent(*LATENT), 4
    guided_model, guided = scenes.guide(model, positive, layout, guided_steps=guided_steps)
    options = dict(steps=steps, guided_steps=guided_steps, recurrence=True, sampler_name="dpmpp_2m")
    node = scenes.guided_ksampler(model, positive, negative, latent, layout, **options)
    return {
        "ksampler": hostkit.relative_error(node, written_out(guided_model, guided, negative, guided_steps, steps)),
        "custom": hostkit.relative_error(custom(guided_model, guided, negative, latent, True, "dpmpp_2m", steps), node),
    }


def written_out(model: Any, positive: Any, negative: Any, guided_steps: int, steps: int) -> Tensor:
    """Algorithm 1 with the host's denoiser, then dpmpp_2m over the remaining sigmas."""
    generator = torch.Generator().manual_seed(7)
    first_noise = torch.randn(1, 4, 12, 16, generator=generator)

    def function(
        denoiser: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, disable: Any = None
    ) -> Tensor:
        for sigma, after in pairwise(sigmas[: guided_steps + 1]):
            once = x + (x - denoiser(x, sigma[None], **extra_args)) / sigma * (after - sigma)
            again = once + torch.randn(x.shape, generator=generator) * (sigma**2 - after**2).sqrt()
            x = again + (again - denoiser(again, sigma[None], **extra_args)) / sigma * (after - sigma)
        rest = comfy.samplers.sampler_object("dpmpp_2m").sampler_function
        return (
            rest(denoiser, x, sigmas[guided_steps:], extra_args=extra_args, disable=True) if guided_steps < steps else x
        )

    sigmas = hostkit.run_node("BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=1.0)[0]
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            model, first_noise, 7.5, comfy.samplers.KSAMPLER(function), sigmas, positive, negative,
            torch.zeros_like(first_noise), disable_pbar=True, seed=7,
        )  # fmt: skip


def rising(name: str, sigmas: list[float]) -> dict:
    """Self Recurrence on a run whose noise level also rises: its model calls, and its distance from plain Euler."""
    model, positive, negative, layout = parts(name)
    guided_model, guided = scenes.guide(model, positive, layout)
    calls = scenes.Calls(guided_model)
    latent, levels = {"samples": scenes.noise(seed=8)}, torch.tensor(sigmas)
    found = custom(calls.model, guided, negative, latent, True, sigmas=levels)
    once = custom(guided_model, guided, negative, latent, False, sigmas=levels)
    return {"calls": calls.count, "finite": bool(found.isfinite().all()), "once": hostkit.relative_error(found, once)}


def wrapped_again(name: str) -> dict[str, bool]:
    """Whether a recurrent sampler gives the same inside another pack's wrapper, and in Self Recurrence once more."""
    model, positive, negative, layout = parts(name)
    guided_model, guided = scenes.guide(model, positive, layout, guided_steps=2)
    run = (guided_model, guided, negative, hostkit.empty_latent(*LATENT, batch=2), True)

    def in_another_pack(sampler: Any) -> Any:
        function = lambda *args, **options: sampler.sampler_function(*args, **options)  # noqa: E731
        return comfy.samplers.KSAMPLER(function, sampler.extra_options, sampler.inpaint_options)

    def again(sampler: Any) -> Any:
        return hostkit.run_node("Cones2SelfRecurrence", sampler=sampler)[0]

    once = custom(*run)
    return {
        "in another pack": hostkit.identical(custom(*run, foreign=in_another_pack), once),
        "twice": hostkit.identical(custom(*run, foreign=again), once),
    }


def first_steps_of_rising_run(name: str) -> list[int]:
    """Model calls that a layout guides when it is asked to guide the first of three steps of a rising run."""
    model, positive, negative, layout = parts(name)
    guided_model, guided = scenes.guide(model, positive, layout, guided_steps=1)
    seen = watched_calls(guided_model)
    levels = torch.tensor([0.5, 1.0, 2.0, 4.0])
    custom(guided_model, guided, negative, {"samples": scenes.noise(seed=8)}, False, sigmas=levels)
    return seen


def pictures_alone(name: str) -> dict:
    """How far each picture of a batch of three is from the same picture sampled alone through LatentFromBatch."""
    model, positive, negative, layout = parts(name)
    guided_model, guided = scenes.guide(model, positive, layout)
    batch = hostkit.empty_latent(*LATENT, batch=3)

    def furthest(sample: Any) -> float:
        together = sample(batch)
        alone = [
            sample(hostkit.run_node("LatentFromBatch", samples=batch, batch_index=index, length=1)[0])
            for index in range(3)
        ]
        return max(hostkit.relative_error(found, together[i : i + 1]) for i, found in enumerate(alone))

    return {
        "plain": furthest(lambda latent: hostkit.ksampler(model, positive, negative, latent)),
        "ksampler": furthest(
            lambda latent: scenes.guided_ksampler(model, positive, negative, latent, layout, recurrence=True)
        ),
        "custom": furthest(lambda latent: custom(guided_model, guided, negative, latent, True)),
    }
