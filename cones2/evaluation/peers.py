"""Other ways to put subjects into regions, written from their formulas to be compared with the layout term.

- *area*: one prediction per region's own prompt, averaged by the regions' masks (MultiDiffusion, arXiv 2302.08113;
  ComfyUI's conditioning areas). Costs n + 1 positive passes instead of one.
- *couple*: one pass; each position's cross-attention reads its region's own prompt (regional prompting, "attention
  couple").
- *dense*: DenseDiffusion (arXiv 2308.12964): in the first 30 % of the steps the scores of cross- and self-attention
  move towards their row's extremes, λ = w · t⁵ · (1 − share of the position's segment), w 1 and 0.3.

None was tuned. Whoever quotes a ranking should know that the toy denoiser was trained so that a noun's token alone
carries its object, that it never saw a picture without objects, and that a prompt with one subject means a larger one:
all three favor the layout term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..concepts.residual import Residual
from ..diffusers_models.latent_model import DiffusersModel
from ..layout.grid import coverage, resize_set
from ..prompt.claims import PhraseRef, locate_subjects
from ..prompt.conditioning import Conditioning
from ..sampling.euler import SeededNoise, sample_euler
from ..scene import compose
from .arms import Arm
from .cases import Case
from .peer_attention import Attention, Couple, Dense, Grid, Plain, replaced

Residuals = Mapping[str, Residual]  # word → residual


@torch.inference_mode()
def sample_peer(model: DiffusersModel, arm: Arm, cases: Sequence[Case], residuals: Sequence[Residuals]) -> Tensor:
    """Latents [B, C, h, w] of the cases by the arm's peer."""
    settings = arm.settings(tuple(case.seed for case in cases), model.default_size)
    schedule = model.noise.schedule(arm.steps)
    side = model.default_size // model.vae_scale_factor
    (unprompted,) = model.encode_prompts("")
    negative = unprompted.conditioning.embeds.expand(len(cases), -1, -1)
    shares = None
    attention: Attention
    if arm.placing == "dense":
        positives = [torch.cat([_segmented(model, arm, c, r) for c, r in zip(cases, residuals, strict=True)])]
        attention = Dense(lambda grid: _token_segments(model, arm, cases, grid), lambda grid: _segments(cases, grid))
    else:
        regional = _regional_prompts(model, arm, cases, residuals)
        if arm.placing == "couple":
            positives, attention = regional[-1:], Couple(regional, lambda grid: _owners(cases, grid))
        else:
            positives, attention = regional, Plain()
            shares = _shares(cases, side)
    batch = Conditioning(torch.cat([negative, *positives]))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        timestep = schedule.timestep(float(sigma))
        attention.at(int(schedule.position(float(sigma))) / arm.steps, timestep / model.noise.train_steps)
        noisy = model.noise.network_input(x.repeat(1 + len(positives), 1, 1, 1), sigma)
        out = model.predict(noisy, torch.tensor(timestep, dtype=torch.float32, device=x.device), batch).to(x.dtype)
        unguided, *parts = out.chunk(1 + len(positives))
        guided = parts[0] if shares is None else sum(p * s.to(p) for p, s in zip(parts, shares, strict=True))
        return model.noise.denoised(x, sigma, unguided + arm.cfg * (guided - unguided))

    start = SeededNoise(settings.seeds, (model.unet.config.in_channels, side, side), model.device)()
    with replaced(model.unet, attention, slice(len(cases), None)):
        return sample_euler(denoise, start * (schedule.sigmas[0] ** 2).sqrt(), schedule.sigmas)


def _regional_prompts(
    model: DiffusersModel, arm: Arm, cases: Sequence[Case], residuals: Sequence[Residuals]
) -> list[Tensor]:
    """The conditionings [B, L, d] of each region's own prompt and, last, of the prompt without subjects."""
    described = arm.looks == "described"
    regional = []
    for index in range(len(cases[0].subjects)):
        parts = []
        for case, known in zip(cases, residuals, strict=True):
            subject = case.subjects[index]
            concepts = [known[subject.word]] if subject.word in known else []
            parts.append(compose(model, case.alone(subject, described), concepts).positive.embeds)
        regional.append(torch.cat(parts))
    return [*regional, torch.cat([compose(model, case.empty).positive.embeds for case in cases])]


def _masks(case: Case) -> list[Tensor]:
    """The subjects' regions and, last, what no region covers."""
    masks = [subject.place for subject in case.subjects if isinstance(subject.place, Tensor)]
    return [*masks, ~torch.stack(masks).any(0)]


def _shares(cases: Sequence[Case], side: int) -> list[Tensor]:
    """How much of each latent cell a region (last: the rest) has: [B, 1, side, side] each; they add up to 1."""
    shares = torch.stack([torch.stack([coverage(m, side, side) for m in _masks(case)]) for case in cases]).float()
    shares = shares / shares.sum(1, keepdim=True)
    return list(shares[:, :, None].unbind(1))


def _owners(cases: Sequence[Case], grid: Grid) -> list[Tensor]:
    """Whether a position is a region's (last: nobody's): [B, N] each; every region has at least one."""
    rows = []
    for case in cases:
        shares = torch.stack([coverage(mask, *grid).flatten() for mask in _masks(case)[:-1]])
        owner = torch.where(shares.amax(0) >= 0.5, shares.argmax(0), len(shares))
        for index, share in enumerate(shares):
            if not (owner == index).any():
                owner[share.argmax()] = index
        rows.append(torch.nn.functional.one_hot(owner, len(shares) + 1).T)
    return list(torch.stack(rows, 1).float().unbind(0))


def _phrases(arm: Arm, case: Case) -> list[str]:
    """The segments' texts: each subject's, and the setting's for what no region covers."""
    words = [subject.described if arm.looks == "described" else subject.word for subject in case.subjects]
    return [*words, case.setting]


def _claimed(model: DiffusersModel, arm: Arm, case: Case) -> list[list[int]]:
    """The token indices of each segment in the case's prompt."""
    prompt = case.described if arm.looks == "described" else case.prompt
    (encoded,) = model.encode_prompts(prompt)
    claims = locate_subjects(encoded.tokens, [PhraseRef(text) for text in _phrases(arm, case)], model.tokenize)
    return [list(claim.token_indices) for claim in claims]


def _segmented(model: DiffusersModel, arm: Arm, case: Case, residuals: Residuals) -> Tensor:
    """The prompt's conditioning [1, L, d] with each subject's tokens as they are in its text alone."""
    prompt = case.described if arm.looks == "described" else case.prompt
    (encoded,) = model.encode_prompts(prompt)
    embeds = encoded.conditioning.embeds.clone()
    for text, tokens in zip(_phrases(arm, case)[:-1], _claimed(model, arm, case)[:-1], strict=True):
        (alone,) = model.encode_prompts(text)
        embeds[0, tokens] = alone.conditioning.embeds[0, 1 : 1 + len(tokens)]
        if text in residuals:
            embeds[0, tokens] += residuals[text].tensor.to(embeds)
    return embeds


def _token_segments(model: DiffusersModel, arm: Arm, cases: Sequence[Case], grid: Grid) -> Tensor:
    """Whether a token is of the segment that a position lies in: bool [B, N, L]."""
    length = model.encode_prompts("")[0].conditioning.embeds.shape[1]
    belongs = torch.zeros(len(cases), grid[0] * grid[1], length, dtype=torch.bool)
    for entry, case in enumerate(cases):
        for mask, tokens in zip(_masks(case), _claimed(model, arm, case), strict=True):
            belongs[entry][:, tokens] = resize_set(mask, *grid).flatten()[:, None]
    return belongs


def _segments(cases: Sequence[Case], grid: Grid) -> Tensor:
    """Whether two positions lie in one segment: bool [B, N, N]."""
    members = torch.stack([torch.stack([resize_set(m, *grid).flatten() for m in _masks(case)]) for case in cases])
    return torch.einsum("bri,brj->bij", members.float(), members.float()) > 0
