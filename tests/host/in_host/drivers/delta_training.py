"""Drivers for training deltas of Custom Diffusion: what is learned, and runs found again."""

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import comfy.model_management
import folder_paths
import hostkit
import scenes
import torch
from learning import changed, counted_runs, endings, patchers, photos, runs_folder, state
from PIL import Image

QUICK = {"resolution": 64, "steps": 2, "batch_size": 1, "accumulation": 1, "class_pictures": 1, "preview_every": 0}


def demo() -> Any:
    return hostkit.run_node("Cones2LoadDemoModel")


def train(parts: Any = None, **changes: Any) -> tuple:
    """The node's outputs; every input is a list, as the host hands it to nodes that take lists."""
    model, clip, vae = parts or demo()
    node = hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2TrainCustomDiffusion"]
    values = {**hostkit.defaults(node), **QUICK, "learning_rate": 1e-3, "model": model, "clip": clip, "vae": vae}
    lists = {key: value if isinstance(value, list) else [value] for key, value in {**values, **changes}.items()}
    images = {} if "folder" in changes else {"images": [photos()]}
    return hostkit.run_node("Cones2TrainCustomDiffusion", **images, **lists)


def train_anew(*args: Any, **changes: Any) -> tuple:
    shutil.rmtree(runs_folder(), ignore_errors=True)
    return train(*args, **changes)


def trains(attention: str = "keys and values") -> dict:
    """What was learned and saved, and what of the models is different afterwards."""
    parts = demo()
    before = [state(patcher) for patcher in patchers(parts)]
    delta, tokens, losses, curve = train_anew(
        parts, attention=attention, save_name=f"pets/{attention}", preview_every=1
    )
    base = scenes.module("nodes.host.delta_model").base_weights(parts[0])
    return {
        "tokens": tokens,
        "losses": losses["loss"],
        "curve": list(curve.shape),
        "weights": len(delta.weights),
        "of": len(base),
        "still": [name for name, change in delta.weights.items() if not change.difference(base[name]).any()],
        "changed": changed(parts, before),
        "metadata": dict(delta.metadata),
        "left": sorted(path.suffix for path in runs_folder().iterdir()),
        "works": works(parts, delta, f"pets/{attention}.safetensors"),
    }


def works(parts: Any, delta: Any, file: str) -> dict:
    """The saved file through Load and Apply: against the delta itself, and against the model alone."""
    model, clip, _ = parts
    loaded = hostkit.run_node("Cones2LoadCustomDiffusion", file=file, class_words="")[0]
    pictures = []
    for each in (loaded, delta):
        patched, knowing, tokens = hostkit.run_node("Cones2ApplyCustomDiffusion", model=model, clip=clip, delta=each)
        pictures.append(sampled(patched, knowing, f"a photo of a {tokens}"))
    plain = sampled(model, clip, "a photo of a dog")
    return {"same": hostkit.identical(*pictures), "effect": hostkit.relative_error(pictures[0], plain)}


def sampled(model: Any, clip: Any, prompt: str) -> torch.Tensor:
    positive, negative = hostkit.encode(clip, prompt), hostkit.encode(clip, "")
    return hostkit.ksampler(model, positive, negative, hostkit.empty_latent(64, 64))


def sees_what_applying_gives() -> dict:
    """The training view with learned values against the host's own model with the delta applied."""
    model, clip, vae = demo()
    module = scenes.module("nodes.host.delta_training_model")
    config = scenes.module("cones2.training.config").delta_config("dog", tokens="<new1>")
    method = scenes.module("cones2.training.delta_method").DeltaMethod
    generator = torch.Generator().manual_seed(3)
    timestep, latents = torch.tensor([400]), torch.randn(1, 4, 8, 8, generator=generator)
    with torch.inference_mode(False), module.delta_training_model(model, clip, vae, config, False) as seen:
        learned = method(seen, config)
        for parameter in learned.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            text = seen.encode_text(["a photo of a <new1> dog"])
            output = seen.predict(latents, timestep, text, None)
        delta = learned.delta(["dog"], 1)
    patched, knowing, _ = hostkit.run_node("Cones2ApplyCustomDiffusion", model=model, clip=clip, delta=delta)
    rows = hostkit.encode(knowing, "a photo of a <new1> dog")[0][0]
    comfy.model_management.load_models_gpu([patched])
    sampling = patched.get_model_object("model_sampling")
    sigma = sampling.sigmas[timestep]
    raw = latents * (sigma**2 + 1) ** 0.5
    with torch.inference_mode():
        denoised = patched.model.apply_model(raw, sigma, c_crossattn=rows)
        wanted = sampling.calculate_denoised(sigma, output.float(), raw)
    return {
        "text": hostkit.relative_error(text.embeds, rows),
        "error": hostkit.relative_error(wanted, denoised),
        "token": hostkit.relative_error(rows, hostkit.encode(clip, "a photo of a dog dog")[0][0]),
    }


def loaded_after_the_unet() -> list[str]:
    """What the host loads once training without a word has taken the UNet."""
    management, loaded = comfy.model_management, []
    original = management.load_models_gpu

    def load(models: Any, *args: Any, **options: Any) -> Any:
        loaded.extend(type(patcher.model).__name__ for patcher in models)
        return original(models, *args, **options)

    with mock.patch.object(management, "load_models_gpu", load):
        train_anew(token="", class_pictures=0)
    return loaded[loaded.index("BaseModel") + 1 :]


def long_caption() -> list[float]:
    """The losses beside a class picture whose caption fills several chunks."""
    folder = Path(folder_paths.get_input_directory()) / "long captions"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (80, 64), "red").save(folder / "one.png")
    (folder / "one.txt").write_text("a red dog on grass " * 30)
    return train_anew(class_folder="long captions")[2]["loss"]


def class_pictures_made() -> list[int]:
    """How many the model made for each of a sequence of runs."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    module, made = scenes.module("cones2.training.class_photos"), []
    original = module._made
    parts, counts = demo(), []
    with mock.patch.object(module, "_made", lambda *args: made.append(args) or original(*args)):
        for changes in ({}, {"learning_rate": 2e-3}, {"class_word": "mug"}, {"seed": 1}):
            before = len(made)
            train(parts, steps=1, **changes)
            counts.append(len(made) - before)
    return counts


def refused_before_pictures(**changes: Any) -> dict:
    """The message for inputs that cannot be trained with, and what was made before it came."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    return {"said": refusal(**changes), "made": sorted(path.name for path in runs_folder().rglob("*.png"))}


def interrupted() -> dict:
    """An interrupt after the second step: the checkpoint waits, and the same inputs continue from it."""
    some = {"steps": 3, "class_pictures": 0}
    whole = train_anew(**some)[2]["loss"]
    shutil.rmtree(runs_folder())
    loop = scenes.module("cones2.training.loop")
    original = loop.Trainer._finish_step

    def stopping(self: Any, *args: Any) -> None:
        original(self, *args)
        if self.step == 2:
            comfy.model_management.interrupt_current_processing(True)

    with mock.patch.object(loop.Trainer, "_finish_step", stopping):
        try:
            train(**some)
            raised = False
        except comfy.model_management.InterruptProcessingException:
            raised = True
        finally:
            comfy.model_management.interrupt_current_processing(False)
    waiting = endings()
    with counted_runs() as steps:
        again = train(**some)[2]["loss"]
    return {"raised": raised, "waiting": waiting, "steps": steps, "same": again == whole, "left": endings()}


def once() -> dict:
    """Steps done by a sequence of queues with equal and changed inputs."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    parts, done = demo(), {}
    folder = Path(folder_paths.get_input_directory()) / "class of dogs"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (80, 64), "red").save(folder / "one.png")
    (folder / "one.txt").write_text("a red dog")
    queues: dict[str, dict] = {
        "first": {},
        "same": {},
        "other name": {"save_name": "again"},
        "own class pictures": {"class_folder": "class of dogs"},
        "the same of them": {"class_folder": "class of dogs"},
        "none of the class": {"class_pictures": 0},
        "other token": {"token": "<rex>"},
    }
    for key, changes in queues.items():
        with counted_runs() as steps:
            train(parts, steps=1, **changes)
        done[key] = len(steps)
    return done


def refusal(**changes: Any) -> str:
    """The message for inputs that cannot be trained with."""
    try:
        train(**changes)
    except ValueError as error:
        return str(error)
    return ""
