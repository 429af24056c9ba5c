"""Drivers for training: residuals from real photos on synthetic checkpoints, and what is left behind."""

import os
import shutil
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import folder_paths
import hostkit
import numpy as np
import scenes
import torch
from PIL import Image
from torch import Tensor

PHOTOS = Path(__file__).resolve().parents[2] / "photos"
QUICK = {"resolution": 64, "steps": 3, "batch_size": 2, "accumulation": 1, "preview_every": 0}
RATES = {"direct": 0.05, "paper": 1e-5}


def photos(kind: str = "dog") -> Tensor:
    """IMAGE batch [3, 192, 192, 3] of real photos, as the host's loader gives them: an inference tensor."""
    pictures = [Image.open(path).convert("RGB").resize((192, 192)) for path in sorted((PHOTOS / kind).glob("*.jpg"))]
    with torch.inference_mode():
        return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures[:3]])).float() / 255


def runs_folder() -> Path:
    return Path(folder_paths.get_output_directory()) / "cones2_training"


def train(
    name: str, method: str = "direct", images: list[Tensor] | None = None, parts: Any = None, **changes: Any
) -> tuple:
    """The node's outputs; every input is a list, as the host hands it to nodes that take lists."""
    model, clip, vae = parts or hostkit.checkpoint(name)
    values = {**QUICK, "learning_rate": RATES[method], "subject": "dog", **changes}
    values |= {"model": model, "clip": clip, "vae": vae, "method": method}
    widgets = {**hostkit.defaults(hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"]), **values}
    lists = {key: value if isinstance(value, list) else [value] for key, value in widgets.items()}
    return hostkit.run_node("Cones2TrainResidual", images=images or [photos()], **lists)


def train_anew(*args: Any, **changes: Any) -> tuple:
    """As `train`, without what earlier runs left."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    return train(*args, **changes)


def bits(tensor: Tensor) -> int:
    """Checksum of a tensor's bytes: equal NaNs are equal too (a weight no checkpoint fills may hold them)."""
    return zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def state(patcher: Any) -> dict:
    """All that may not change in a patcher and its model: weights, patches, options, forward functions.

    Not the identity of the weights: the host wraps them anew whenever it unloads a model.
    """
    tensors = [*patcher.model.named_parameters(), *patcher.model.named_buffers()]
    return {
        "weights": {
            name: (bits(tensor), str(tensor.dtype), str(tensor.device), tensor.requires_grad, tensor.grad is None)
            for name, tensor in tensors
        },
        "patches": (str(patcher.patches_uuid), sorted(patcher.patches), sorted(patcher.object_patches)),
        "options": repr(patcher.model_options),
        "forwards": [name for name, part in patcher.model.named_modules() if "forward" in vars(part)],
        "training": [name for name, part in patcher.model.named_modules() if part.training],
    }


def changed(parts: Any, before: list[dict]) -> list[str]:
    """What differs in MODEL, CLIP and VAE from an earlier state."""
    found = []
    for kind, old, new in zip(("model", "clip", "vae"), before, map(state, patchers(parts)), strict=True):
        found += [f"{kind}: {key}" for key in old if key != "weights" and old[key] != new[key]]
        found += [f"{kind}: {name}" for name in old["weights"] if old["weights"][name] != new["weights"].get(name)]
    return found


def patchers(parts: Any) -> tuple[Any, Any, Any]:
    model, clip, vae = parts
    return model, clip.patcher, vae.patcher


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
    (residual,), losses, _ = train_anew("", method, parts=parts, preview_every=1)
    conditioning = scenes.encode(parts[1], "a dog")
    moved = hostkit.run_node(
        "Cones2ApplyResidualToConditioning", conditioning=conditioning, residuals={"residual0": (residual,)}
    )[0]
    return {
        "shape": list(residual.tensor.shape),
        "norm": float(residual.tensor.norm()),
        "losses": losses["loss"],
        "changed": changed(parts, before),
        "applied": float((moved[0][0] - conditioning[0][0]).norm()),
    }


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
    trainable = scenes.module("nodes.trainable")
    conditioning_type = scenes.module("cones2.training.model").Conditioning
    model, clip, vae = hostkit.checkpoint(name)
    with torch.inference_mode(False), trainable.trainable_model(model, clip, vae, "direct", False) as seen:
        rows, pooled = seen.encode_text(["a dog"])
        timestep, latents = torch.tensor([400]), scenes.noise(seed=4).clone()
        sampling = model.get_model_object("model_sampling")
        sigma = sampling.sigmas[timestep].clone()
        size = torch.tensor([[96.0, 128, 0, 0, 96, 128]])
        with torch.no_grad():
            output = seen.predict(latents, timestep, conditioning_type(rows, pooled), size)
        grid = (seen.factor, seen.multiple, seen.width)
    raw = latents * (sigma**2 + 1) ** 0.5
    with torch.inference_mode():
        vector = model.model.encode_adm(pooled_output=pooled, width=128, height=96) if pooled is not None else None
        denoised = model.model.apply_model(raw, sigma, c_crossattn=rows, **({} if vector is None else {"y": vector}))
        wanted = sampling.calculate_denoised(sigma, output.float(), raw)
    return {"error": hostkit.relative_error(wanted, denoised), "type": seen.prediction_type, "grid": grid}


@contextmanager
def counted_runs():
    """How often training really ran inside the block: a list of the steps done."""
    loop = scenes.module("cones2.training.loop")
    original, steps = loop.Trainer._finish_step, []

    def counting(self: Any, *args: Any) -> None:
        original(self, *args)
        steps.append(self.step)

    with mock.patch.object(loop.Trainer, "_finish_step", counting):
        yield steps


def interrupted(method: str) -> dict:
    """An interrupt after the second step: the checkpoint waits, and the same inputs continue from it."""
    name = "sd15_short"
    whole = train_anew(name, method, steps=4)[1]["loss"]
    shutil.rmtree(runs_folder())
    loop = scenes.module("cones2.training.loop")
    original = loop.Trainer._finish_step

    def stopping(self: Any, *args: Any) -> None:
        original(self, *args)
        if self.step == 2:
            comfy.model_management.interrupt_current_processing(True)

    parts = hostkit.checkpoint(name)
    before = [state(patcher) for patcher in patchers(parts)]
    with mock.patch.object(loop.Trainer, "_finish_step", stopping):
        try:
            train(name, method, steps=4)
            raised = False
        except comfy.model_management.InterruptProcessingException:
            raised = True
        finally:
            comfy.model_management.interrupt_current_processing(False)
    different = changed(parts, before)
    waiting = [path.name.partition(".")[2] for path in runs_folder().glob("*")]
    with counted_runs() as steps:
        again = train(name, method, steps=4)[1]["loss"]
    left = sorted(path.name.partition(".")[2] for path in runs_folder().glob("*"))
    return {
        "raised": raised, "waiting": waiting, "steps": steps, "same": again == whole, "left": left, "changed": different
    }  # fmt: skip


def once() -> dict:
    """Steps done by a sequence of queues with equal and changed inputs."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    model, clip, vae = hostkit.checkpoint("sd15_short")
    adapted = with_lora(model)
    queues = {
        "first": {},
        "same": {},
        "other name": {"save_name": "rex", "preview_every": 1},
        "same name": {"save_name": "rex"},
        "other seed": {"seed": 1},
        "one photo less": {"images": [photos()[:2]]},
        "lora": {"parts": (adapted, clip, vae)},
        "lora again": {"parts": (adapted.clone(), clip, vae)},
        "plain again": {"parts": (model, clip, vae)},
    }
    done, losses = {}, {}
    for key, changes in queues.items():
        with counted_runs() as steps:
            losses[key] = train("sd15_short", **changes)[1]["loss"]
        done[key] = len(steps)
    same = losses["first"] == losses["same"] == losses["plain again"] and losses["lora"] == losses["lora again"]
    return {"steps": done, "same": same, "files": saved_files("rex*")}


def saved_files(pattern: str) -> list[str]:
    root = Path(folder_paths.get_folder_paths("residuals")[0])
    return sorted(str(path.relative_to(root)) for path in root.glob(pattern))


def steps_of_one_run() -> int:
    """Steps done by a queue whose inputs may have been trained by an earlier process."""
    with counted_runs() as steps:
        train("sd15_short", save_name="restarted")
    return len(steps)


def saved() -> list[str]:
    """File names after training under one name with three seeds, two of them equal."""
    for seed in (0, 1, 1):
        train("sd15_short", steps=1, save_name="pets/rex", seed=seed)
    return saved_files("pets/*")


def damaged() -> list[int]:
    """Steps done after the files of a finished run were damaged."""
    train_anew("sd15_short", steps=1)
    done = []
    for ending in ("csv", "safetensors"):
        next(runs_folder().glob(f"*.{ending}")).write_bytes(os.urandom(64))
        with counted_runs() as steps:
            train("sd15_short", steps=1)
        done.append(len(steps))
    return done


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


def with_lora(part: Any, weights: str = "attn2.to_k.weight") -> Any:
    """A clone of a MODEL or CLIP with a patch on some attention weights."""
    clone = part.clone()
    generator = torch.Generator().manual_seed(5)
    for key, weight in list(getattr(clone, "patcher", clone).model.named_parameters()):
        if key.endswith(weights):
            change = torch.randn(weight.shape, generator=generator) * float(weight.float().std()) * 0.3
            assert clone.add_patches({key: (change,)}, 0.7)
    return clone


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
    frozen = scenes.module("nodes.frozen")
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
    trainable = scenes.module("nodes.trainable")
    _, clip, _ = hostkit.checkpoint("sd15_short")
    adapted = with_lora(clip, "self_attn.q_proj.weight")
    plain = hostkit.encode(clip, "a dog")[0][0].clone()
    own = hostkit.encode(adapted, "a dog")[0][0].clone()
    with torch.inference_mode(False), torch.no_grad():
        copied = trainable._TunableText(adapted)("a dog").rows
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
    node = scenes.module("nodes.training")
    widgets = hostkit.defaults(hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainResidual"])
    names = ("steps", "learning_rate", "batch_size", "accumulation", "seed")
    config = node._config("float32", method=method, subject="dog", **{name: widgets[name] for name in names})
    recipe = scenes.module("cones2.training.config").default_config(method, "dog")
    alike = ("steps", "learning_rate", "schedule", "weight_decay", "held_out", "patience")
    return {
        "same": all(getattr(config, name) == getattr(recipe, name) for name in alike),
        "samples": [given.batch_size * given.accumulation for given in (config, recipe)],
    }


def refusals() -> dict[str, str]:
    """Messages for inputs that cannot work."""
    attempts = {
        "subject": {"subject": " "},
        "rate": {"method": "paper", "learning_rate": 0.05},
        "masks": {"masks": [torch.ones(2, 8, 8), torch.ones(2, 8, 8)]},
        "name": {"save_name": "../outside"},
        "empty mask": {"masks": [torch.zeros(1, 192, 192)]},
        "vae": {"parts": (*hostkit.checkpoint("sd15_short")[:2], None)},
    }
    found = {}
    for key, changes in attempts.items():
        try:
            train("sd15_short", **changes)
        except ValueError as error:
            found[key] = str(error)
    return found
