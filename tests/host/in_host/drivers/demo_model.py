"""Drivers for the demo model: what its parts compute, and stock nodes and the pack's own on it."""

import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import comfy.model_management
import folder_paths
import hostkit
import scenes
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

PROMPT = "a photo of a mug and a house in the snow"
MUG, HOUSE = (5,), (8,)  # rows of the words of PROMPT, the start token being row 0
RESIDUALS = {"mug": "purple_yellow_mug.safetensors", "house": "white_red_house.safetensors"}


def load() -> tuple[Any, Any, Any]:
    return hostkit.run_node("Cones2LoadDemoModel")


def computed(folder: str, prompts: list[str]) -> dict[str, Any]:
    """Text rows, velocities, latents and pictures for the inputs in case.safetensors, as host.safetensors."""
    model, clip, vae = load()
    case = load_file(Path(folder, "case.safetensors"))
    with torch.inference_mode():
        found = {f"text{number}": hostkit.encode(clip, text)[0][0] for number, text in enumerate(prompts)}
        found |= {
            f"velocity{number}": velocity(model, case["latents"], timestep, case["context"])
            for number, timestep in enumerate(case["timesteps"])
        }
        found["encoded"] = model.model.process_latent_in(vae.encode(case["picture"]))
        found["decoded"] = vae.decode(model.model.process_latent_out(case["latents"]))
    save_file({key: value.contiguous() for key, value in found.items()}, Path(folder, "host.safetensors"))
    return {
        "prediction": model.model.model_type.name,
        "sigmas": model.get_model_object("model_sampling").sigmas.tolist(),
        "dtypes": sorted({str(part.dtype) for part in model.model.parameters()}),
    }


def velocity(model: Any, latents: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
    """The network's own output for latents [B, 4, h, w] in diffusers' scale."""
    comfy.model_management.load_models_gpu([model])
    return model.model.diffusion_model(latents, timestep.float().expand(len(latents)), context=context)


def encoded(texts: list[str]) -> list[dict[str, Any]]:
    """Shape and finiteness of each text, and the words that the pack finds in it."""
    clip = load()[1]
    described = []
    for text in texts:
        cond, options = scenes.encode(clip, text)[0]
        words = scenes.module("cones2.prompt.tokens").words(options["cones2_prompt"].tokens)
        described.append({"shape": list(cond.shape), "finite": bool(cond.isfinite().all()), "words": words})
    return described


def subjects() -> Any:
    """PROMPT with the shipped residuals of both things, and its plain encoding."""
    clip = load()[1]
    plain = scenes.encode(clip, PROMPT)
    residuals = {
        f"residual{number}": hostkit.run_node("Cones2LoadResidual", file=file, subject=subject)[0]
        for number, (subject, file) in enumerate(RESIDUALS.items())
    }
    (changed,) = hostkit.run_node("Cones2ApplyResidualToConditioning", conditioning=plain, residuals=residuals)
    return changed, plain


def shipped_residuals() -> dict[str, Any]:
    """Where the shipped residuals stand, the rows they change, and where Save Residual would write."""
    changed, plain = subjects()
    rows = (changed[0][0] != plain[0][0]).any(-1)[0].nonzero().flatten().tolist()
    return {
        "files": hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2LoadResidual"].INPUT_TYPES()["required"]["file"][1][
            "options"
        ],
        "without folder": hostkit.run_node("Cones2LoadResidual", file=RESIDUALS["mug"])[0][0].subject,
        "accepted": [
            hostkit.nodes.NODE_CLASS_MAPPINGS["Cones2LoadResidual"].validate_inputs(file=file) is True
            for file in (RESIDUALS["mug"], "demo/" + RESIDUALS["mug"], "demo/dog", "other/" + RESIDUALS["mug"])
        ],
        "rows": rows,
        "first folder": folder_paths.get_folder_paths("residuals")[0],
    }


def apply_foreign() -> None:
    """Put a residual of an SD 1.x model into a prompt of the demo model."""
    foreign = scenes.module("cones2.concepts.residual").make_residual("mug", torch.ones(1, 768))
    prompt = scenes.encode(load()[1], PROMPT)
    hostkit.run_node("Cones2ApplyResidualToConditioning", conditioning=prompt, residuals={"residual0": (foreign,)})


def own_file_wins() -> bool:
    """Whether a file of the user's with a shipped one's name is the one that is loaded."""
    name = RESIDUALS["mug"]
    own = Path(folder_paths.get_folder_paths("residuals")[0], name)
    save_file({"residual": torch.ones(1, 128)}, own)
    try:
        (residual,) = hostkit.run_node("Cones2LoadResidual", file=name)[0]
        return bool((residual.tensor == 1).all())
    finally:
        own.unlink()


def own_nodes() -> dict[str, Any]:
    """Guidance and the attention display on the demo model."""
    model = load()[0]
    positive, negative = subjects()[0], hostkit.encode(load()[1], "")
    picture = scenes.box_image({(255, 0, 0): (0, 0, 1, 0.5), (0, 0, 255): (0, 0.5, 1, 1)}, 64, 64)
    (layout, _, _) = hostkit.run_node("Cones2ColorLayoutToMasks", image=picture, colors="red = mug\nblue = house")
    latent = hostkit.empty_latent(64, 64)
    plain = hostkit.ksampler(model, positive, negative, latent, cfg=4.0)
    guided = scenes.guided_ksampler(model, positive, negative, latent, layout, cfg=4.0)
    naive = scenes.naive_model(model, layout, {"mug": MUG, "house": HOUSE})
    start = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    formula = scenes.denoised(naive, positive, negative, start)
    (heat,) = hostkit.run_node(
        "Cones2SubjectAttention",
        model=model, conditioning=positive, latent={"samples": guided}, scheduler="normal", subjects="", steps=2,
    )  # fmt: skip
    return {
        "latent": hostkit.summary(guided),
        "effect": hostkit.relative_error(guided, plain),
        "formula": hostkit.relative_error(
            scenes.denoised(*scenes.guide(model, positive, layout), negative, start), formula
        ),
        "heat maps": len(heat),
    }


def stock_nodes() -> dict[str, Any]:
    """Sizes of what the stock nodes make with the demo model, and whether their patches act on it."""
    model, clip, vae = load()
    positive, negative = hostkit.encode(clip, PROMPT), hostkit.encode(clip, "")
    latent = hostkit.empty_latent(64, 96, 2)

    def sampled(model: Any, positive: Any = positive, **options: Any) -> Tensor:
        return hostkit.ksampler(model, positive, negative, latent, cfg=4.0, **options)

    plain = sampled(model)
    (pixels,) = hostkit.run_node("VAEDecode", vae=vae, samples={"samples": plain})
    (again,) = hostkit.run_node("VAEEncode", vae=vae, pixels=pixels)
    (tiled,) = hostkit.run_node("VAEDecodeTiled", vae=vae, samples={"samples": plain}, tile_size=512, overlap=64)
    (zero_snr,) = hostkit.run_node("ModelSamplingDiscrete", model=model, sampling="v_prediction", zsnr=True)
    (merged,) = hostkit.run_node("ModelMergeSimple", model1=model, model2=zero_snr, ratio=0.5)
    (skipping,) = hostkit.run_node("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-2)
    lora_model, lora_clip = hostkit.run_node(
        "LoraLoader", model=model, clip=clip, lora_name=write_lora(), strength_model=1.0, strength_clip=1.0
    )
    return {
        "latent": list(plain.shape),
        "pixels": list(pixels.shape),
        "again": list(again["samples"].shape),
        "tiled": float((tiled - pixels).abs().max()),
        "zero snr": hostkit.relative_error(sampled(zero_snr), plain),
        "merged": hostkit.relative_error(sampled(merged), plain),
        "skip": hostkit.relative_error(hostkit.encode(skipping, PROMPT)[0][0], positive[0][0]),
        "lora, model": hostkit.relative_error(sampled(lora_model), plain),
        "lora, clip": hostkit.relative_error(hostkit.encode(lora_clip, PROMPT)[0][0], positive[0][0]),
        "saved": saved_parts(model, clip, vae),
    }


def write_lora() -> str:
    """A LoRA for a layer of the UNet and one of the text encoder, as files in diffusers' naming have them."""
    generator = torch.Generator().manual_seed(5)
    layers = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v": (64, 128),
        "lora_te_text_model_encoder_layers_0_mlp_fc1": (384, 128),
    }
    weights = {}
    for name, (rows, columns) in layers.items():
        weights[f"{name}.lora_up.weight"] = torch.randn(rows, 4, generator=generator)
        weights[f"{name}.lora_down.weight"] = torch.randn(4, columns, generator=generator) * columns**-0.5
    path = Path(folder_paths.get_folder_paths("loras")[0], "demo.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path.name


def saved_parts(model: Any, clip: Any, vae: Any) -> dict[str, int]:
    """How many finite tensors of each part a checkpoint holds that the stock node saved."""
    hostkit.run_node("CheckpointSave", model=model, clip=clip, vae=vae, filename_prefix="demo")
    (path,) = Path(folder_paths.get_output_directory()).glob("demo*.safetensors")
    counts: dict[str, int] = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118  a safetensors file is no dict
            part = key.partition(".")[0]
            counts[part] = counts.get(part, 0) + bool(file.get_tensor(key).isfinite().all())
    os.remove(path)
    return counts


def incomplete(hidden: list[str]) -> None:
    """Load the demo model from a folder that lacks files."""
    demo = scenes.module("nodes.host.demo_model")
    with tempfile.TemporaryDirectory() as folder:
        for path in demo.TOYWORLD.rglob("*.*"):
            name = path.relative_to(demo.TOYWORLD)
            if path.is_file() and name.as_posix() not in hidden:
                Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, name).symlink_to(path)
        with mock.patch.object(demo, "TOYWORLD", Path(folder)):
            load()
