"""CD1 to CD3: Custom Diffusion's files, merge and compression against the published code; CD4 is in `cd_training`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cones2.custom_diffusion.changes import LowRank
from cones2.custom_diffusion.compress import compress
from cones2.custom_diffusion.delta import Delta, whole_weights
from cones2.custom_diffusion.files import export_delta, load_delta
from cones2.custom_diffusion.fit import as_difference, as_whole
from cones2.custom_diffusion.layers import compvis_name, plain_name
from cones2.custom_diffusion.merge import merge
from cones2.custom_diffusion.merge_prompts import published_compvis_phrases, published_phrases
from cones2.diffusers_models.deltas import DeltaUse, text_rows, with_deltas, with_tokens
from cones2.diffusers_models.latent_model import DiffusersModel
from cones2.prompt.conditioning import Conditioning
from tests.parity.cd_models import CdModels, cd_models, predicted
from tests.parity.cd_training import augment_figures, training_figures
from tests.parity.mip_models import MipModels
from tests.parity.references import Case, ParityError, References
from tests.parity.report import Figure, Outcome, difference, mismatches

_CASE = re.compile(r"(CD[1-4])_.+\.json")
LOADED = 1e-5
WEIGHTS, CAPTIONS, MERGED_UNET, CONSTRAINT = 1e-2, 3e-3, 1e-3, 1e-4


def delta_cases(root: Path) -> Iterator[Case]:
    """The cases CD1 … CD4 below a folder, by name."""
    for path in sorted(root.rglob("CD*.json"), key=lambda path: path.name):
        if match := _CASE.fullmatch(path.name):
            yield Case(path, match[1])


def run_delta_case(case: Case, references: References) -> Outcome:
    """Compare one case. Raises ParityError for what is missing."""
    if case.kind == "CD4" and "items" in case.data:
        return Outcome(case.name, augment_figures(case))
    if case.name.startswith("CD1") and "modifier_token_type" in case.data:
        return Outcome(case.name, _sdxl_figures(case, MipModels(cd_models(case, references, "mip"))))
    models = _models(cd_models(case, references), references)
    if case.kind == "CD4":
        return Outcome(case.name, training_figures(case, models))
    figures = {"CD1": _load_figures, "CD2": _merge_figures, "CD3": _compression_figures}[case.kind]
    return Outcome(case.name, figures(case, models, references))


_LOADED: dict[Path, CdModels] = {}


def _models(folder: Path, references: References) -> CdModels:
    """The models of a folder, loaded once."""
    return _LOADED.setdefault(folder, CdModels(folder, references))


@dataclass(frozen=True)
class _Source:
    """A case's delta in one format."""

    label: str
    delta: Delta


def _sources(case: Case) -> list[_Source]:
    """The case's delta in every format that is stored, and written and read again by us."""
    folder, name = case.path.parent, case.name
    found = [
        _Source(path.name, load_delta(path))
        for path in sorted(folder.glob(f"{name}.*"))
        if path.suffix in (".bin", ".ckpt") and path.is_file()
    ]
    for weights in sorted(folder.glob(f"{name}.diffusers/*custom_diffusion_weights.*")):
        tokens = sorted(path for path in weights.parent.iterdir() if "weights" not in path.name)
        found.append(_Source(weights.name, load_delta(weights, tokens)))
    if not found:
        raise ParityError(f"there is no delta file {name}.* beside {case.path.name}")
    return found


def _load_figures(case: Case, models: CdModels, _: References) -> list[Figure]:
    stored, figures = case.tensors, []
    names = case.data.get("compvis_names", {})
    figures.append(mismatches("CompVis names", [compvis_name(name) for name in names], list(names.values())))
    figures.append(mismatches("diffusers names", [plain_name(name) for name in names.values()], list(names)))
    steps = stored["timesteps"].tolist()
    for index, prompt in enumerate(case.data["prompts"]):
        ids = stored[f"token_ids.{index}"]
        before = stored[f"conditioning_initial.{index}"]
        output = predicted(models.model, stored["latents"], steps, before)
        figures.append(difference(f"base, prompt {index}", output, stored[f"unet_before.{index}"], LOADED))
        for source in (*_sources(case), *_rewritten(case, models)):
            model = with_deltas(models.model, [DeltaUse(source.delta)])
            embeds = _embed(model, ids)
            where = f"{source.label}, prompt {index}"
            figures.append(difference(f"text, {where}", embeds, stored[f"conditioning.{index}"], LOADED))
            output = predicted(model, stored["latents"], steps, embeds)
            figures.append(difference(f"UNet, {where}", output, stored[f"unet_after.{index}"], LOADED))
            if models.model.text.tokenizers:
                own = model.encode_prompts(prompt)[0].conditioning.embeds
                figures.append(difference(f"tokenized, {where}", own, stored[f"conditioning.{index}"], LOADED))
        again = predicted(models.model, stored["latents"], steps, before)
        figures.append(difference(f"base afterwards, prompt {index}", again, stored[f"unet_before.{index}"], LOADED))
    return figures


def _rewritten(case: Case, models: CdModels) -> list[_Source]:
    """The first source through every format that we write, and as differences."""
    import tempfile

    delta = _sources(case)[0].delta
    found = [_Source("as differences", as_difference(delta, models.base))]
    with tempfile.TemporaryDirectory() as folder:
        for target in ("cones2", "repository", "compvis", "diffusers"):
            paths = export_delta(delta, Path(folder) / target / "again", target)
            found.append(_Source(f"written as {target}", load_delta(paths[0], paths[1:])))
    return found


def _embed(model: DiffusersModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model.text.embed([ids.long()] * len(model.text.encoders)).embeds


def _sdxl_figures(case: Case, models: MipModels) -> list[Figure]:
    stored, base = case.tensors, models.model
    delta = load_delta(case.path.parent / f"{case.name}.delta.bin")
    model = with_deltas(base, [DeltaUse(delta)])
    ids = _sdxl_ids(case)
    with torch.no_grad():
        text = model.text.embed([ids[0], ids[1]])
    figures = [
        difference("text", text.embeds, stored["conditioning"], LOADED),
        difference("pooled text", torch.zeros(0) if text.pooled is None else text.pooled, stored["pooled"], LOADED),
    ]
    sizes, step = torch.tensor([case.data["time_ids"]], dtype=torch.float32), torch.tensor([case.data["timestep"]])
    initial = Conditioning(stored["conditioning_initial"], stored["pooled_initial"])
    for name, network, conditioning in (("unet_after", model, text), ("unet_before", base, initial)):
        with torch.no_grad():
            output = network.predict(stored["latents"], step, conditioning, sizes)
        figures.append(difference(name, output, stored[name], LOADED))
    return figures


def _sdxl_ids(case: Case) -> list[Tensor]:
    """The ids of the one prompt that cases are recorded with, "photo of a <new1> cat", for both tokenizers."""
    words = {"photo": 1125, "of": 539, "a": 320, "<new1>": 49408, "cat": 2368}
    try:
        content = [49406, *(words[word] for word in case.data["prompt"].split()), 49407]
    except KeyError as error:
        raise ParityError(f'{case.name}: no ids are known for "{case.data["prompt"]}"') from error
    return [torch.tensor([[*content, *[pad] * (77 - len(content))]]) for pad in (49407, 0)]


def _merge_figures(case: Case, models: CdModels, _: References) -> list[Figure]:
    stored, data = case.tensors, case.data
    phrases = published_compvis_phrases if data["variant"] == "ckpt" else published_phrases
    files = sorted(path for path in case.path.parent.glob(f"{case.name}.delta[0-9]*.*"))
    deltas = [load_delta(path).with_class_words([word]) for path, word in zip(files, data["categories"], strict=True)]
    text = models.model.text
    if not text.tokenizers:
        raise ParityError(f"{case.name} needs a CLIP tokenizer: give a folder with vocab.json and merges.txt")
    result = merge(
        deltas, models.base, lambda tokens: text_rows(with_tokens(text, tokens)), data["captions"], phrases=phrases
    )
    rows = {"captions": result.caption_rows, "targets": result.target_rows}
    figures = [mismatches("rows", list(rows.items()), list(data["rows"].items()))]
    figures.append(Figure("constraint error", result.constraint_error, CONSTRAINT))
    merged = as_whole(result.delta, models.base)
    kept = stored["K_captions"].double()
    published = [path for path in case.path.parent.glob(f"{case.name}.merged.*")]
    everything = load_delta(published[0]) if published else None
    for name, change in merged.weights.items():
        wanted = stored.get(f"merged/{name}")
        if wanted is None and everything is not None:
            wanted = next(iter(everything.weights[name].parts().values()))
        if wanted is not None:
            ours = next(iter(change.parts().values()))
            figures.append(difference(f"weights of {name}", ours, wanted, WEIGHTS))
            ours, theirs = ours.double() @ kept.T, wanted.double() @ kept.T
            figures.append(difference(f"captions through {name}", ours, theirs, CAPTIONS))
    vectors = torch.stack([token.vectors[0] for token in merged.tokens])
    figures.append(difference("tokens", vectors, stored["merged_embeddings"], 0.0))
    figures.append(mismatches("names", [token.name for token in merged.tokens], data["merged_token_order"]))
    step = [data["timestep"]]
    model = with_deltas(models.model, [DeltaUse(merged)])
    embeds = _embed(model, stored["token_ids"])
    figures.append(difference("text", embeds, stored["conditioning"], LOADED))
    output = predicted(model, stored["latents"], step, embeds)
    figures.append(difference("UNet", output, stored["unet_merged"], MERGED_UNET))
    output = predicted(models.model, stored["latents"], step, stored["conditioning"])
    figures.append(difference("base", output, stored["unet_base"], LOADED))
    mean = {
        name: torch.stack([delta.weights[name].parts()["whole"] for delta in deltas]).mean(0) for name in merged.weights
    }
    model = with_deltas(models.model, [DeltaUse(Delta(whole_weights(mean)))])
    output = predicted(model, stored["latents"], step, stored["conditioning"])
    figures.append(difference("mean of the deltas", output, stored["unet_mean_of_deltas"], LOADED))
    return figures


def _compression_figures(case: Case, models: CdModels, references: References) -> list[Figure]:
    stored, figures = case.tensors, []
    delta = load_delta(_beside(case, references, f"{case.name.replace('CD3_', 'CD1_')}.delta.bin"))
    embeds = stored["conditioning"]
    step = [case.data["timestep"]]
    for ratio in case.data["ratios"]:
        small = compress(delta, models.base, float(ratio))
        ranks = case.data["ranks"][str(ratio)]
        ours = {name: change.rank for name, change in small.weights.items() if isinstance(change, LowRank)}
        figures.append(mismatches(f"ranks at {ratio}", [ours[name] for name in ranks], list(ranks.values())))
        for name in case.data["layers_stored"]:
            product = small.weights[name].difference(models.base[name])
            figures.append(difference(f"product at {ratio}", product, stored[f"{ratio}/{name}"], LOADED))
        model = with_deltas(models.model, [DeltaUse(small)])
        output = predicted(model, stored["latents"], step, embeds)
        figures.append(difference(f"UNet at {ratio}", output, stored[f"{ratio}/unet"], LOADED))
    for name, model in (("uncompressed", with_deltas(models.model, [DeltaUse(delta)])), ("base", models.model)):
        output = predicted(model, stored["latents"], step, embeds)
        figures.append(difference(name, output, stored[f"{name}/unet"], LOADED))
    for path in sorted(case.path.parent.glob(f"{case.name}.compressed*")):
        model = with_deltas(models.model, [DeltaUse(load_delta(path))])
        output = predicted(model, stored["latents"], step, embeds)
        figures.append(difference(path.name, output, stored["0.6/unet"], LOADED))
    return figures


def _beside(case: Case, references: References, name: str) -> Path:
    """A file of another case."""
    for folder in (case.path.parent.parent, *references.roots):
        for path in sorted(folder.rglob(name)):
            return path
    raise ParityError(f"{case.name} needs {name}, which is not there")
