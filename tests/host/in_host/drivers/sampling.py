"""Drivers for sampling: plain runs stay plain, nothing outlives a run, a lost layout is said."""

import gc
import weakref
from typing import Any

import comfy.model_management
import comfy.samplers
import hostkit
import scenes
import torch
from sampling_runs import LATENT, custom, parts, watched_calls
from torch import Tensor


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


def presets(name: str) -> dict:
    """Runs with a preset of half the steps against runs with its numbers, and against those without any."""
    model, positive, negative, layout = parts(name)
    latent, engine = hostkit.empty_latent(*LATENT), scenes.module("cones2.presets")
    numbers = dict(guidance_weight=0.5, outside_weight=-3.0, negative_mode="others", guided_steps=2)
    guidance = scenes.module("cones2.rules").GuidanceSettings(0.5, -3.0, "others")
    other = dict(guidance_weight=0.0, outside_weight=-7.0, negative_mode="outside", guided_steps=0)

    def node(**options: Any) -> Tensor:
        return scenes.guided_ksampler(model, positive, negative, latent, layout, steps=4, **options)

    def sampler(**options: Any) -> Tensor:
        return hostkit.ksampler(
            *scenes.guide(model, positive, layout, **options), negative, latent, steps=4, sampler_name="euler"
        )

    before = dict(engine.PRESETS)
    engine.PRESETS["recommended"] = engine.Preset(guidance, guided=0.5, recurrence=True)
    try:
        return {
            "node": hostkit.identical(node(preset="recommended", **other), node(recurrence=True, **numbers)),
            "model": hostkit.identical(sampler(preset="recommended", **other), sampler(**numbers)),
            "as set": hostkit.identical(node(preset="as set", **numbers), node(**numbers)),
            "effect": hostkit.relative_error(node(preset="recommended"), node(preset="published")),
        }
    finally:
        engine.PRESETS.update(before)


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
