"""Drivers for sampling: plain runs stay plain, nothing outlives a run, recurrence does what it says."""

import gc
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import comfy.model_management
import comfy.samplers
import hostkit
import scenes
import torch
from torch import Tensor

LATENT = (128, 96)


def parts(name: str) -> tuple[Any, Any, Any, Any]:
    """MODEL, positive (with tokens), negative and layout."""
    model, clip, _ = hostkit.checkpoint(name)
    return model, scenes.encode(clip), hostkit.encode(clip, "blurry"), scenes.layout()


def latent_of(kind: str) -> tuple[dict, dict]:
    """An empty latent, or a picture's with denoise or a mask; with the options that go with it."""
    latent = hostkit.empty_latent(*LATENT)
    if kind == "empty":
        return latent, {}
    latent = {"samples": scenes.noise(seed=8)}
    if kind == "denoise":
        return latent, {"denoise": 0.5}
    mask = torch.zeros(1, 1, 96, 128)
    mask[..., 64:] = 1
    return {**latent, "noise_mask": mask}, {}


def unguided(name: str, kind: str, sampler: str) -> dict:
    """The nodes without guidance, against the stock KSampler."""
    model, positive, negative, layout = parts(name)
    latent, options = latent_of(kind)
    options |= {"sampler_name": sampler, "steps": 3}
    plain = hostkit.ksampler(model, positive, negative, latent, **options)
    none = dict(guided_steps=0, recurrence=True)
    weightless = dict(guidance_weight=0.0, recurrence=True)
    no_steps, no_weight = (
        scenes.guide(model, positive, layout, **values) for values in ({"guided_steps": 0}, {"guidance_weight": 0.0})
    )
    return {
        "zero steps": hostkit.identical(
            plain, scenes.guided_ksampler(model, positive, negative, latent, layout, **(options | none))
        ),
        "zero weight": hostkit.identical(
            plain, scenes.guided_ksampler(model, positive, negative, latent, layout, **(options | weightless))
        ),
        "node, zero steps": hostkit.identical(
            plain, hostkit.ksampler(no_steps[0], no_steps[1], negative, latent, **options)
        ),
        "node, zero weight": hostkit.identical(
            plain, hostkit.ksampler(no_weight[0], no_weight[1], negative, latent, **options)
        ),
        "sampler wrapped": hostkit.identical(
            *(custom(model, positive, negative, latent, wrapped, **options) for wrapped in (True, False))
        ),
        "sampler wrapped, zero weight": hostkit.identical(
            custom(*no_weight, negative, latent, True, **options),
            custom(model, positive, negative, latent, False, **options),
        ),
        "guided": hostkit.relative_error(
            scenes.guided_ksampler(model, positive, negative, latent, layout, **options), plain
        ),
    }


def custom(
    model: Any,
    positive: Any,
    negative: Any,
    latent: dict,
    wrapped: bool,
    sampler_name: str = "euler",
    steps: int = 3,
    denoise: float = 1.0,
    sigmas: Tensor | None = None,
    foreign: Callable[[Any], Any] | None = None,
) -> Tensor:
    """Latents of SamplerCustomAdvanced with the sampler wrapped by Self Recurrence or not, then by `foreign`."""
    sampler = hostkit.run_node("KSamplerSelect", sampler_name=sampler_name)[0]
    if wrapped:
        sampler = hostkit.run_node("Cones2SelfRecurrence", sampler=sampler)[0]
    if foreign:
        sampler = foreign(sampler)
    guider = hostkit.run_node("CFGGuider", model=model, positive=positive, negative=negative, cfg=7.5)[0]
    if sigmas is None:
        sigmas = hostkit.run_node("BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=denoise)[0]
    noise = hostkit.run_node("RandomNoise", noise_seed=7)[0]
    out = hostkit.run_node(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
    )
    return out[0]["samples"]


def forwards(name: str) -> dict:
    """Model calls of runs of four steps."""
    model, positive, negative, layout = parts(name)
    latent = hostkit.empty_latent(*LATENT)

    def counted(**options: Any) -> int:
        calls = scenes.Calls(model)
        scenes.guided_ksampler(calls.model, positive, negative, latent, layout, steps=4, **options)
        return calls.count

    def late() -> int:
        guided_model, guided = scenes.guide(model, positive, layout, start_percent=0.5)
        calls = scenes.Calls(guided_model)
        custom(calls.model, guided, negative, latent, True, "dpmpp_2m", 4)
        return calls.count

    return {
        "guided": counted(),
        "second half recurrent": late(),
        "recurrent": counted(recurrence=True),
        "half recurrent": counted(recurrence=True, guided_steps=2),
        "recurrent without weight": counted(recurrence=True, guidance_weight=0.0),
        "more than all": counted(recurrence=True, guided_steps=100),
    }


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


def layout_lost(name: str) -> dict:
    """Warnings of the pack when a layout does not reach the sampler, and model calls of a recurrent run then."""
    model, positive, negative, layout = parts(name)
    guided_model, guided = scenes.guide(model, positive, layout)
    joined = hostkit.run_node("ConditioningConcat", conditioning_to=positive, conditioning_from=guided)[0]
    calls, latent = scenes.Calls(model), hostkit.empty_latent(64, 64)
    look = dict(latent=latent, scheduler="normal", subjects="dog", steps=2)
    attend = lambda model, cond: hostkit.run_node(  # noqa: E731
        "Cones2SubjectAttention", model=model, conditioning=cond, **look
    )
    runs = {
        "both": lambda: custom(guided_model, guided, negative, latent, True),
        "model only": lambda: custom(guided_model, positive, negative, latent, True),
        "joined": lambda: custom(guided_model, joined, negative, latent, True),
        "conditioning only": lambda: custom(calls.model, guided, negative, latent, True),
        "heat maps": lambda: attend(model, positive),
        "heat maps, conditioning only": lambda: attend(model, guided),
    }
    found: dict[str, Any] = {}
    for key, run in runs.items():
        with hostkit.warnings_of(scenes.module("nodes.text").__name__.removesuffix(".text")) as warnings:
            run()
        found[key] = list(warnings)
    return {**found, "calls": calls.count}


def watched_calls(model: Any) -> list[int]:
    """A list that fills with the numbers of the model calls that a layout guides."""
    seen: list[int] = []
    calls = iter(range(100))

    def spy(executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = next(calls)
        options = args[-1] if args and isinstance(args[-1], dict) else kwargs["transformer_options"]
        if options.get("patches_replace", {}).get("attn2"):
            seen.append(call)
        return executor(x, t, *args, **kwargs)

    model.add_wrapper_with_key("apply_model", "later", spy)
    return seen


def windows(name: str) -> dict:
    """Which of four steps are guided, by the forward passes that differ from plain ones."""
    model, positive, negative, layout = parts(name)

    def guided_steps(**options: Any) -> list[int]:
        guided_model, guided = scenes.guide(model, positive, layout, **options)
        seen = watched_calls(guided_model)
        hostkit.ksampler(guided_model, guided, negative, hostkit.empty_latent(*LATENT), steps=4)
        return seen

    return {
        "all": guided_steps(),
        "two steps": guided_steps(guided_steps=2),
        "steps win": guided_steps(guided_steps=3, end_percent=0.0),
        "first half": guided_steps(end_percent=0.5),
        "second half": guided_steps(start_percent=0.5),
    }


def sampled_finite(name: str, sampler: str, scheduler: str, guided_steps: int, recurrence: bool = True) -> dict:
    """Whether a run is finite, guided and plain."""
    model, positive, negative, layout = parts(name)
    latent = hostkit.empty_latent(64, 64)
    options = dict(steps=4, sampler_name=sampler, scheduler=scheduler)
    plain = hostkit.ksampler(model, positive, negative, latent, **options)
    found = scenes.guided_ksampler(
        model, positive, negative, latent, layout, guided_steps=guided_steps, recurrence=recurrence, **options
    )
    return {"plain": hostkit.summary(plain), "guided": hostkit.summary(found)}


def choices() -> tuple[list[str], list[str]]:
    """All samplers and schedulers of the host."""
    return comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS


def plain_run(name: str) -> list[float]:
    """A plain KSampler run, every number of it."""
    model, positive, negative, _ = parts(name)
    latent = hostkit.empty_latent(64, 64, 2)
    return hostkit.ksampler(model, positive, negative, latent, steps=2).flatten().tolist()


class Stop(RuntimeError):
    """A failure in the middle of a run."""


def runs_end(name: str, how: str) -> dict:
    """A guided run that ends normally, is interrupted or fails; which of its tensors are still alive afterwards."""
    model, positive, negative, layout = parts(name)
    tensors: list[weakref.ref] = []
    guided_model, guided = scenes.guide(model, positive, layout)  # alive like a cached output of a node
    error = guided_run_ending(how, guided_model, guided, negative, tensors)
    gc.collect()
    return {
        "error": error,
        "seen": len(tensors),
        "alive": sum(ref() is not None for ref in tensors),
        "options": sorted(str(key) for key in guided_model.model_options["transformer_options"]),
        "wrappers": sorted(model.wrappers),
        "guided": len(guided),
    }


def guided_run_ending(how: str, model: Any, positive: Any, negative: Any, tensors: list) -> str:
    calls = iter(range(100))

    def watch(q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
        tensors.extend(weakref.ref(x) for x in (q, k, v))
        return scenes.plain_attention(q, k, v, extra)

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        call = next(calls)
        if call == 2 and how == "interrupted":
            comfy.model_management.interrupt_current_processing()
        if call == 2 and how == "failed":
            raise Stop("in the middle")
        out = executor(*args, **kwargs)
        tensors.append(weakref.ref(out))
        return out

    maps = scenes.module("cones2.guidance.weight_maps")
    resized = maps.WeightMaps.at

    def watched(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        found = resized(self, *args, **kwargs)
        tensors.append(weakref.ref(found))
        return found

    watched_model = scenes.with_replaced(model, watch)
    watched_model.add_wrapper_with_key("apply_model", "spy", spy)
    maps.WeightMaps.at = watched
    try:
        custom(watched_model, positive, negative, hostkit.empty_latent(64, 64, 2), True)
    except (Stop, comfy.model_management.InterruptProcessingException) as error:
        return type(error).__name__
    finally:
        maps.WeightMaps.at = resized
        comfy.model_management.interrupt_current_processing(False)
    return ""
