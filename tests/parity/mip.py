"""MIP1 … MIP4: the published MIP-Adapter (arXiv 2409.17920) against the engine's picture adapter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from cones2.diffusers_models.attention import ForwardState, guided_unet
from cones2.diffusers_models.picture_pass import PicturePass
from cones2.guidance.cross_attention import guided_attention
from cones2.picture_adapter.adapter import AdapterLayer, PictureAdapter, make_adapter
from cones2.picture_adapter.adapter_file import load_adapter
from cones2.picture_adapter.attention import name_weights, picture_part, text_factor
from cones2.picture_adapter.projection import project
from cones2.picture_adapter.references import LayerPictures, References, layer_pictures
from cones2.prompt.claims import PhraseRef
from cones2.prompt.conditioning import Conditioning
from cones2.sampling.euler import sample_euler
from tests.parity import references as recorded
from tests.parity.mip_models import HEAD_WIDTH, MipModels, models_folder
from tests.parity.references import Case, ParityError
from tests.parity.report import Figure, Outcome, difference

TOKENS, LAYER, UNET = 1e-4, 1e-5, 2e-3
FROM_PICTURES = 0.05  # another resize moves the features by so much
_CASE = re.compile(r"MIP([1-4])[a-z]*_.+\.json")


def mip_cases(root: Path) -> list[Case]:
    """The cases of a folder, in order of kind and name."""
    found = ((path, _CASE.fullmatch(path.name)) for path in root.rglob("MIP*.json"))
    cases = [Case(path, f"MIP{match[1]}") for path, match in found if match]
    return sorted(cases, key=lambda case: (case.kind, case.name))


def run_mip(case: Case, references: recorded.References) -> Outcome:
    """Compare everything that one case stores."""
    if case.kind in ("MIP2", "MIP3"):
        return Outcome(case.name, _layer_figures(case))
    models = _models(models_folder(case, references.roots))
    return Outcome(case.name, _token_figures(case, models) if case.kind == "MIP1" else _unet_figures(case, models))


@lru_cache(maxsize=2)
def _models(folder: Path) -> MipModels:
    return MipModels(folder)


def _token_figures(case: Case, models: MipModels) -> list[Figure]:
    """Features of the recorded pictures, and tokens of the recorded features."""
    stored, encoder, figures = case.tensors, models.image_encoder, []
    for kind, name in (("plain", "image_embeds"), ("plus", "penultimate")):
        adapter = _bare_adapter(stored, f"{kind}.image_proj.", _head_width(case))
        zeros = encoder.features(adapter, encoder.zeros())
        if kind == "plus":
            figures.append(difference("penultimate_of_zero_input", zeros, stored["penultimate_of_zero_input"], TOKENS))
        unconditional = stored["penultimate_of_zero_input"] if kind == "plus" else torch.zeros_like(zeros)
        figures.append(difference(f"{kind}.tokens", project(adapter, stored[name]), stored[f"{kind}.tokens"], TOKENS))
        figures.append(
            difference(
                f"{kind}.uncond_tokens", project(adapter, unconditional), stored[f"{kind}.uncond_tokens"], TOKENS
            )
        )
        pictures = sorted(case.path.parent.glob(f"{case.name}.ref*.png"))
        ours = torch.cat([_features(models, adapter, path) for path in pictures])
        figures.append(difference(f"{name} of the pictures", ours, stored[name], FROM_PICTURES))
    return figures


def _layer_figures(case: Case) -> list[Figure]:
    """One attention layer: weights of the subjects, text factor, output; as much of it as the case stores."""
    stored = {name: tensor.float() for name, tensor in case.tensors.items()}
    data, heads = case.data, int(case.data["heads"])
    q = _split(_linear(stored, "to_q", stored["hidden_states"]), heads)
    weights = [
        name_weights(q[row : row + 1], [_name_keys(stored, row, *name) for name in enumerate(lengths)])
        for row, lengths in enumerate(data["entity_token_lengths"])
    ]
    ours = {"object_weights": torch.cat(weights)}
    if "text" in stored:
        k, v = (_split(_linear(stored, name, stored["text"]), heads) for name in ("to_k", "to_v"))
        ours["text_attention_before_to_out"] = guided_attention(q, k, v, None).transpose(1, 2).flatten(2)
    h = ours.get("text_attention_before_to_out", stored.get("text_attention_before_to_out"))
    if h is not None and "text_to_weight.weight" in stored:
        gate = text_factor(h, stored["text_to_weight.weight"].flatten())
        assert gate is not None
        ours["text_weight"] = gate
    if h is not None and "to_out.0.weight" in stored:
        rows = [slice(row, row + 1) for row in range(len(q))]
        added = [
            picture_part(
                q[row], h[row], _row_pictures(stored, row.start), own, [1.0] * own.shape[1], float(data["scale"])
            )
            for row, own in zip(rows, weights, strict=True)
        ]
        ours["output"] = _linear(stored, "to_out.0", h + torch.cat(added))
    return [difference(name, tensor, stored[name], LAYER) for name, tensor in ours.items() if name in stored]


def _name_keys(stored: Mapping[str, Tensor], row: int, number: int, length: int) -> Tensor:
    return _linear(stored, "to_k", stored["entity_text"][row, number, 1 : 1 + length])


def _row_pictures(stored: Mapping[str, Tensor], row: int) -> LayerPictures:
    """Keys and values of one batch entry's subjects; nothing is asked of the unconditional ones."""
    tokens, factor = stored["image_tokens"][row], stored.get("text_to_weight.weight")
    layer = AdapterLayer(
        stored["to_k_ip.weight"], stored["to_v_ip.weight"], None if factor is None else factor.flatten()
    )
    return layer_pictures(PictureAdapter({}, (layer,)), torch.cat([tokens, tokens[:1]]))[0]


def _split(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def _unet_figures(case: Case, models: MipModels) -> list[Figure]:
    """The whole UNet with the adapter from its file, in one call and over the steps of a run."""
    stored, figures = case.tensors, []
    adapter = load_adapter(case.path.with_suffix(".adapter.bin"), HEAD_WIDTH)
    adapter.check_layers(models.model.cross_attention_widths)
    figures += _picture_figures(case, models, adapter) + _name_figures(case, models)
    run = _Run(case, models, adapter)
    timestep = float(case.data["timestep_call0"])
    figures.append(difference("call0.out", run.predict(stored["call0.sample"], timestep), stored["call0.out"], UNET))
    plain = run.predict(stored["call0.sample"], timestep, with_adapter=False)
    figures.append(difference("call0.out_without_adapter", plain, stored["call0.out_without_adapter"], UNET))
    if (variant := case.path.with_suffix(".adapter.safetensors")).is_file():
        other = _Run(case, models, load_adapter(variant, HEAD_WIDTH)).predict(stored["call0.sample"], timestep)
        figures.append(difference("call0.out of the safetensors file", other, stored["call0.out"], UNET))
    if "call_outs" in stored:
        outputs, latents = run.sampled(len(stored["call0.text"]) // 2)
        figures.append(difference("call_outs", outputs, stored["call_outs"], UNET))
        figures.append(difference("final_latents", latents, stored["final_latents"], UNET))
    return figures


class _Run:
    """The UNet with one case's references: each row of the conditional half has its own."""

    def __init__(self, case: Case, models: MipModels, adapter: PictureAdapter) -> None:
        self._case, self._model = case, models.model
        self._half = len(case.tensors["call0.text"]) // 2
        self._references = [self._references_of(adapter, row) for row in range(self._half)]

    def predict(self, sample: Tensor, timestep: float, with_adapter: bool = True) -> Tensor:
        """The UNet's output [rows, 4, h, w], unconditional rows first."""
        stored, half = self._case.tensors, self._half
        text, pooled, time_ids = (stored[f"call0.{name}"] for name in ("text", "pooled", "time_ids"))
        out = torch.empty_like(sample)
        for row in range(half):
            both = [row, half + row]
            state = ForwardState()
            if with_adapter:
                state.pictures = PicturePass(self._references[row], slice(1, 2), slice(0, 1))
            with guided_unet(self._model.unet, state):
                conditioning = Conditioning(text[both], pooled[both])
                out[both] = self._model.predict(sample[both], torch.tensor(timestep), conditioning, time_ids[both])
        return out

    def sampled(self, images: int) -> tuple[Tensor, Tensor]:
        """Our output of each call on the recorded latents, [steps, rows, 4, h, w], and the final latents.

        The recorded outputs lead from one call to the next: these networks of random weights amplify a rounding
        error fortyfold in a step, so that two runs of the same formula part.
        """
        stored, noise = self._case.tensors, self._model.noise
        timesteps, recorded_outputs = stored["timesteps"], stored["call_outs"]
        sigmas = torch.cat([noise.sigmas(timesteps.long()), torch.zeros(1)])
        outputs: list[Tensor] = []

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            call, sample = len(outputs), noise.network_input(x, sigma).repeat(2, 1, 1, 1)
            outputs.append(self.predict(sample, float(timesteps[call])))
            negative, positive = recorded_outputs[call].chunk(2)
            return noise.denoised(x, sigma, negative + float(self._case.data["guidance"]) * (positive - negative))

        start = stored["call0.sample"][:images] * (sigmas[0] ** 2 + 1).sqrt()
        latents = sample_euler(denoise, start, sigmas)
        return torch.stack(outputs), latents

    def _references_of(self, adapter: PictureAdapter, row: int) -> References:
        stored, data = self._case.tensors, self._case.data
        tokens, text = stored["call0.image_tokens"], stored["call0.entity_text_rows0_15"][self._half + row]
        lengths = data["entity_token_lengths_per_row"][self._half + row]
        layers: Sequence[LayerPictures] = layer_pictures(
            adapter, torch.cat([tokens[self._half + row], tokens[row, :1]])
        )
        return References(
            tuple(PhraseRef(str(number)) for number in range(len(lengths))),
            tuple(text[number, 1 : 1 + length] for number, length in enumerate(lengths)),
            (1.0,) * len(lengths),
            tuple(layers),
            float(data["scale"]),
        )


def _picture_figures(case: Case, models: MipModels, adapter: PictureAdapter) -> list[Figure]:
    """Image tokens of the recorded pictures, and the unconditional ones."""
    stored, encoder = case.tensors["call0.image_tokens"], models.image_encoder
    half, samples = len(stored) // 2, int(case.data.get("num_samples", 1))
    zeros = encoder.features(adapter, encoder.zeros())
    unconditional = project(adapter, zeros if adapter.is_plus else torch.zeros_like(zeros))[0]
    figures = [difference("unconditional image tokens", unconditional, stored[0, 0], TOKENS)]
    for prompt, counts in enumerate(case.data["images_per_object"]):
        for number, count in enumerate(counts):
            name = f"{case.name}.prompt{prompt}.object{number}"
            paths = [case.path.parent / f"{name}.{picture}.png" for picture in range(count)]
            tokens = [project(adapter, _features(models, adapter, path)) for path in paths]
            wanted = stored[half + prompt * samples, number]
            figures.append(difference(f"tokens of {name}", torch.cat(tokens).mean(0), wanted, FROM_PICTURES))
    return figures


def _name_figures(case: Case, models: MipModels) -> list[Figure]:
    """The names encoded alone by both text encoders."""
    stored, samples = case.tensors["call0.entity_text_rows0_15"], int(case.data.get("num_samples", 1))
    half, figures = len(stored) // 2, []
    for prompt, names in enumerate(case.data["entity_token_ids"]):
        for number, ids in enumerate(names):
            wanted = stored[half + prompt * samples, number][1 : len(ids) - 1]
            figures.append(difference("name", models.encoded(ids)[1 : len(ids) - 1], wanted, TOKENS))
    return figures


def _features(models: MipModels, adapter: PictureAdapter, path: Path) -> Tensor:
    if not path.is_file():
        raise ParityError(f"there is no {path.name}")
    with Image.open(path) as picture:
        return models.image_encoder.features(adapter, models.image_encoder.pixels(picture))


def _bare_adapter(stored: Mapping[str, Tensor], prefix: str, head_width: int) -> PictureAdapter:
    """The projection among the tensors of a case, with one layer that nobody asks for."""
    projection = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
    width = len(projection.get("norm.weight", projection.get("norm_out.weight", torch.zeros(1))))
    unused = torch.zeros(1, width)
    return make_adapter(projection, {"1.to_k_ip.weight": unused, "1.to_v_ip.weight": unused}, head_width)


def _head_width(case: Case) -> int:
    return int(case.data.get("resampler", {}).get("dim_head", HEAD_WIDTH))


def _linear(stored: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return nn.functional.linear(x, stored[f"{name}.weight"], stored.get(f"{name}.bias"))
