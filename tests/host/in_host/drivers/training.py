"""Drivers for training: residuals from real photos on synthetic checkpoints."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import hostkit
import scenes
import torch
from learning import changed, patchers, photos, runs_folder, state, train, train_anew, with_lora
from PIL import Image


def trains(name: str, method: str, checkpointing: bool = False) -> dict:
    """Shape and size of what is learned, and what of the models is different afterwards."""
    parts = hostkit.checkpoint(name)
    before = [state(patcher) for patcher in patchers(parts)]
    (residual,), losses, curve = train_anew(name, method, gradient_checkpointing=checkpointing)
    return {
        "shape": list(residual.tensor.shape),
        "norm": float(residual.tensor.norm()),
        "losses": losses["loss"],
        "curve": list(curve.shape),
        "changed": changed(parts, before),
        "metadata": dict(residual.metadata),
    }


def trains_demo_model(method: str) -> dict:
    """As `trains`, on the small model that comes with the pack: other widths, other latents."""
    parts = hostkit.run_node("Cones2LoadDemoModel")
    before = [state(patcher) for patcher in patchers(parts)]
    (residual,), losses, _ = train_anew("", method, parts=parts, preview_every=1, resolution=0)
    conditioning = scenes.encode(parts[1], "a dog")
    moved = hostkit.run_node(
        "Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals={"residual0": (residual,)}
    )[0]
    return {
        "shape": list(residual.tensor.shape),
        "norm": float(residual.tensor.norm()),
        "losses": losses["loss"],
        "resolution": residual.metadata["resolution"],
        "changed": changed(parts, before),
        "applied": float((moved[0][0] - conditioning[0][0]).norm()),
    }


def trains_at(name: str, resolution: int) -> None:
    """Train at a resolution."""
    train_anew(name, resolution=resolution)


def trains_scenes(name: str = "", checkpointing: bool = False) -> dict:
    """As `trains`, with the recipe scenes, masks and a description; on the demo model where no name is given."""
    parts = hostkit.checkpoint(name) if name else hostkit.run_node("Cones2LoadDemoModel")
    before = [state(patcher) for patcher in patchers(parts)]
    mask = torch.zeros(1, 192, 192)
    mask[:, 48:144, 64:128] = 1
    options = {"recipe": "scenes", "description": "blue dog", "masks": [mask]}
    (residual,), losses, _ = train_anew("", parts=parts, gradient_checkpointing=checkpointing, **options)
    return {
        "losses": losses["loss"],
        "changed": changed(parts, before),
        "metadata": dict(residual.metadata),
        "cutouts": len(residual.cutouts),
        "left": sorted(path.suffix for path in runs_folder().iterdir()),
    }


def interrupts_class_pictures() -> dict:
    """An interrupt while the model makes its pictures, and the same inputs again."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    parts = hostkit.run_node("Cones2LoadDemoModel")
    before = [state(patcher) for patcher in patchers(parts)]
    comfy.model_management.interrupt_current_processing(True)
    try:
        train("", parts=parts, recipe="scenes")
        ended = "finished"
    except comfy.model_management.InterruptProcessingException:
        ended = "interrupted"
    finally:
        comfy.model_management.interrupt_current_processing(False)
    different = changed(parts, before)
    return {"ended": ended, "changed": different, "again": len(train("", parts=parts, recipe="scenes")[1]["loss"])}


def warns_of_other_encoder(name: str, other: str) -> list[list[str]]:
    """Warnings when the residual is applied to a prompt of its own and of another text encoder."""
    (residual,), _, _ = train_anew(name)
    found = []
    for checkpoint in (name, other):
        conditioning = scenes.encode(hostkit.checkpoint(checkpoint)[1], "a dog")
        with hostkit.warnings_of() as warnings:
            hostkit.run_node(
                "Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals={"residual0": (residual,)}
            )
        found.append(list(warnings))
    return found


def samples_alike(name: str) -> bool:
    """A picture before and after training has the same bits."""
    model, clip, _ = hostkit.checkpoint(name)
    positive, negative = hostkit.encode(clip, "a dog"), hostkit.encode(clip, "")
    before = hostkit.ksampler(model, positive, negative, hostkit.empty_latent())
    train_anew(name)
    return hostkit.identical(before, hostkit.ksampler(model, positive, negative, hostkit.empty_latent()))


def prediction(name: str) -> dict:
    """The training view's prediction against the host's own apply_model at one noise level."""
    trainable = scenes.module("nodes.host.training_model")
    conditioning_type = scenes.module("cones2.prompt.conditioning").Conditioning
    model, clip, vae = hostkit.checkpoint(name)
    with torch.inference_mode(False), trainable.trainable_model(model, clip, vae, "direct", False) as seen:
        rows, pooled, _ = seen.encode_text(["a dog"])
        timestep, latents = torch.tensor([400]), scenes.noise(seed=4).clone()
        sampling = model.get_model_object("model_sampling")
        sigma = sampling.sigmas[timestep].clone()
        size = torch.tensor([[96.0, 128, 0, 0, 96, 128]])
        with torch.no_grad():
            output = seen.predict(latents, timestep, conditioning_type(rows, pooled), size)
        grid = (seen.vae_scale_factor, seen.size_multiple, seen.width)
    raw = latents * (sigma**2 + 1) ** 0.5
    with torch.inference_mode():
        vector = model.model.encode_adm(pooled_output=pooled, width=128, height=96) if pooled is not None else None
        denoised = model.model.apply_model(raw, sigma, c_crossattn=rows, **({} if vector is None else {"y": vector}))
        wanted = sampling.calculate_denoised(sigma, output.float(), raw)
    return {"error": hostkit.relative_error(wanted, denoised), "type": seen.noise.prediction, "grid": grid}


def lists_and_masks() -> dict:
    """A dataset loader's list of images of different sizes, with one mask each."""
    images = [photos()[:1], photos()[1:2, :128]]
    masks = [torch.ones(1, 192, 192), torch.ones(1, 128, 192)]
    masks[0][:, :, 96:] = 0
    whole = train_anew("sd15_short", images=images)[1]["loss"]
    inside = train("sd15_short", images=images, masks=masks)[1]["loss"]
    return {"whole": whole, "inside": inside}


def previews(every: int) -> list[list]:
    """[step, of how many, size of its preview or None] of each report to the host's progress bar."""
    reports = []

    def hook(value: int, total: int, preview: Any, **_: Any) -> None:
        reports.append([value, total, preview and [preview[0], *preview[1].size]])

    with mock.patch.object(comfy.utils, "PROGRESS_BAR_HOOK", hook):
        train_anew("sd15_short", steps=4, preview_every=every)
    return [report for report in reports if report[1] == 4]


@contextmanager
def partly_loaded(megabytes: float):
    """The host leaves all but so much of each model's weights to be moved or cast at each call.

    Here from CPU to CPU; as `--lowvram` does it on a GPU, with the host's own code for it.
    """

    def load(models: list, *_: Any, **__: Any) -> None:
        for model in models:
            if not model.loaded_size():
                model.partially_load(model.load_device, int(megabytes * 2**20))

    with mock.patch.object(comfy.model_management, "load_models_gpu", load):
        yield


def offloaded(method: str, lora: bool) -> dict:
    """Losses with the model resident and with most of it offloaded; what changed; how many layers were cast."""
    model, clip, vae = hostkit.checkpoint("sd15_short")
    frozen = scenes.module("nodes.host.differentiable")
    parts = (with_lora(model) if lora else model, clip, vae)
    losses, counts = [], []
    for megabytes in (1e6, 60.0):
        hostkit.release()
        before = [state(patcher) for patcher in patchers(parts)]
        with partly_loaded(megabytes), mock.patch.object(frozen, "_cast_again", wraps=frozen._cast_again) as cast:
            losses.append(train_anew("sd15_short", method, parts=parts)[1]["loss"])
        for patcher in patchers(parts):
            patcher.detach()
        counts.append(cast.call_count)
    return {"losses": losses, "cast": counts, "changed": changed(parts, before)}


def tunable_text() -> dict:
    """How far the text encoder's copy is from the patched encoder it copies, and how far the patch moves that."""
    tunable = scenes.module("nodes.host.tunable_text")
    _, clip, _ = hostkit.checkpoint("sd15_short")
    adapted = with_lora(clip, "self_attn.q_proj.weight")
    plain = hostkit.encode(clip, "a dog")[0][0].clone()
    own = hostkit.encode(adapted, "a dog")[0][0].clone()
    with torch.inference_mode(False), torch.no_grad():
        copied = tunable.TunableText(adapted)("a dog").embeds
    return {"error": hostkit.relative_error(copied, own), "patch": hostkit.relative_error(plain, own)}


def number_formats() -> dict:
    """Losses for weights stored in a format, and for computing in it."""
    found = {}
    path = os.path.join(os.environ["CONES2_CHECKPOINTS"], "sd15_short.safetensors")
    _, clip, vae = hostkit.checkpoint("sd15_short")
    found["float32"] = train_anew("sd15_short")[1]["loss"]
    for dtype in (torch.float16, torch.bfloat16):
        model = comfy.sd.load_checkpoint_guess_config(
            path, output_vae=False, output_clip=False, model_options={"dtype": dtype}
        )[0]
        name = str(dtype).removeprefix("torch.")
        found[f"{name} stored"] = train_anew("sd15_short", parts=(model, clip, vae))[1]["loss"]
        model.set_model_compute_dtype(dtype)
        found[f"{name} computed"] = train_anew("sd15_short", parts=(model, clip, vae))[1]["loss"]
    return found


def own_recipe(method: str) -> dict:
    """What the node asks the engine for with all numbers left at their defaults."""
    training = scenes.module("nodes.host.train")
    widgets = hostkit.defaults(hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"])
    names = ("steps", "learning_rate", "batch_size", "accumulation", "seed")
    config = training.settings_of("float32", method=method, subject="dog", **{name: widgets[name] for name in names})
    config_module = scenes.module("cones2.training.config")
    recipe = config_module.recipe_config("paper" if method == "paper" else config_module.DEFAULT_RECIPE, "dog")
    alike = ("steps", "learning_rate", "schedule", "weight_decay", "held_out", "patience")
    return {
        "same": all(getattr(config, name) == getattr(recipe, name) for name in alike),
        "samples": [given.batch_size * given.accumulation for given in (config, recipe)],
    }


def refusals() -> dict[str, str]:
    """Messages for inputs that cannot work."""
    model, clip, vae = hostkit.checkpoint("sd15_short")
    shortened = hostkit.run_node("ModelSamplingDiscrete", model=model, sampling="lcm", zsnr=False)[0]
    pictures = hostkit.run_node("ModelSamplingDiscrete", model=model, sampling="x0", zsnr=False)[0]
    karras = hostkit.run_node(
        "ModelSamplingContinuousEDM", model=model, sampling="edm_playground_v2.5", sigma_max=120.0, sigma_min=0.002
    )[0]
    other_clip = hostkit.checkpoint("sd21_short")[1]
    attempts = {
        "subject": {"subject": " "},
        "rate": {"method": "paper", "learning_rate": 0.05},
        "masks": {"masks": [torch.ones(2, 8, 8), torch.ones(2, 8, 8)]},
        "name": {"save_name": "../outside"},
        "empty mask": {"masks": [torch.zeros(1, 192, 192)]},
        "vae": {"parts": (model, clip, None)},
        "lcm": {"parts": (shortened, clip, vae)},
        "x0": {"parts": (pictures, clip, vae)},
        "edm": {"parts": (karras, clip, vae)},
        "other clip": {"parts": (model, other_clip, vae)},
        "two encoders": {"parts": (model, clip, vae), "num_classes": "sequential"},
        "inpainting": {"parts": (model, clip, vae), "in_channels": 9},
    }
    config = model.model.model_config.unet_config
    found = {}
    for key, changes in attempts.items():
        other = {name: changes.pop(name) for name in ("num_classes", "in_channels") if name in changes}
        try:
            with mock.patch.dict(config, other):  # what the host read from the weights
                train("sd15_short", **changes)
        except ValueError as error:
            found[key] = str(error)
    return found


def trains_from(source: str) -> dict:
    """The same photos as a batch, then one by one or from a folder: whether the second training was the first again."""
    pictures = photos()
    train_anew("sd15_short", images=[pictures])
    folder = Path(folder_paths.get_input_directory(), "cones2_photos")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray((picture * 255).round().byte().numpy()).save(folder / f"{index}.png")
    given: dict[str, Any] = {
        "folder": {"folder": "cones2_photos"},
        "one by one": {"photos": {f"photo{index}": [picture[None]] for index, picture in enumerate(pictures)}},
    }[source]
    (residual,), *_ = train("sd15_short", **given)
    node = hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"]
    return {
        "photos": residual.metadata["photos"],
        "runs": len(list(runs_folder().glob("*.safetensors"))),
        "listed": "cones2_photos" in node.INPUT_TYPES()["optional"]["folder"][1]["options"],
        "stamps": len(node.fingerprint_inputs(folder=["cones2_photos"])),
    }


def folder_refused(folder: str) -> str:
    """What validation says to a folder's name."""
    node = hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"]
    root = Path(folder_paths.get_input_directory())
    (root / "cones2_inside").mkdir(exist_ok=True)
    if not (root / "cones2_link").exists():
        os.symlink(root.parent, root / "cones2_link", target_is_directory=True)
    said = node.validate_inputs(folder=[folder])
    return "" if said is True else str(said)
