"""Parity of the paper method with recorded runs of the published training script.

The recordings hold token ids instead of a tokenizer, so captions are looked up in them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cones2.prompt.conditioning import Conditioning
from cones2.prompt.tokens import Piece, PromptTokens, chunked_tokens
from cones2.sampling.noise import make_noise
from cones2.sampling.schedule import scaled_linear_alphas
from cones2.training.captions import CAPTION_TEMPLATES
from cones2.training.config import default_config
from cones2.training.loop import Trainer
from cones2.training.methods import PaperMethod
from cones2.training.model import Posterior, TrainingModel
from cones2.training.objective import Batch
from tests.parity.models import ReferenceModels
from tests.parity.references import Case
from tests.parity.report import Figure, Outcome

_START, _END, _PAD, _ROWS = 49406, 49407, 0, 77


def run_g5(case: Mapping[str, Any], tensors: Mapping[str, Tensor], models: Any) -> list[tuple[str, float, float]]:
    """Train as recorded; (figure, error, tolerance) per figure.

    case: the recording's json. tensors: its tensors. models: has `unet` and `text_encoder`, fresh
    (the text encoder is tuned in place).
    """
    config = default_config(
        "paper",
        case["instance_prompt"],
        steps=case["max_train_steps"],
        learning_rate=case["learning_rate"],
        drift_first=case["loss_rate_first"],
        drift_rest=case["loss_rate_second"],
        token_num=case["token_num"],
        checkpoint_every=0,
    )
    assert config.betas == tuple(case["adam"]["betas"]) and config.weight_decay == case["adam"]["weight_decay"]
    predictions: list[Tensor] = []
    method = PaperMethod(recorded_model(case, models, predictions), config)
    result = Trainer(method, _RecordedBatches(tensors), config).run()
    return _figures(case, tensors, predictions, result)


def run_training(case: Case, models: ReferenceModels) -> Outcome:
    """A G5 case: the published training loop on stored latents, noise and timesteps."""
    parts = models.parts()
    fresh = SimpleNamespace(
        unet=parts["unet"].requires_grad_(False),
        text_encoder=copy.deepcopy(parts["text_encoder"]).requires_grad_(True),
    )
    with torch.enable_grad():
        figures = run_g5(case.data, case.tensors, fresh)
    return Outcome(case.name, [Figure(*figure) for figure in figures])


def recorded_model(case: Mapping[str, Any], models: Any, predictions: list[Tensor]) -> TrainingModel:
    """The recorded networks as callables; `predictions` collects the UNet's outputs."""
    ids = _recorded_ids(case)

    def encode_text(prompts: Sequence[str]) -> Conditioning:
        padded = torch.full((len(prompts), _ROWS), _PAD)
        for row, prompt in zip(padded, prompts, strict=True):
            row[: len(ids[prompt]) + 2] = torch.tensor([_START, *ids[prompt], _END])
        return Conditioning(models.text_encoder(padded).last_hidden_state)

    def predict(noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, *_: object) -> Tensor:
        output = models.unet(noisy, timesteps, encoder_hidden_states=conditioning.embeds).sample
        predictions.append(output.detach())
        return output

    return TrainingModel(
        prompt_tokens=lambda prompt: _prompt_tokens(prompt, ids[prompt]),
        tokenize=lambda phrase: _pieces(ids[phrase]),
        encode_text=encode_text,
        predict=predict,
        encode_image=lambda pixels: Posterior(pixels, pixels),
        noise=make_noise("v_prediction" if case["prediction_type"] == "v" else "epsilon", scaled_linear_alphas()),
        width=1024,
        text_weights=dict(models.text_encoder.named_parameters()),
    )


class _RecordedBatches:
    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def __call__(self, step: int, micro: int) -> list[tuple[float, Batch]]:
        latents, noise = (self._tensors[name][step : step + 1] for name in ("latents", "noise"))
        return [(1.0, Batch(latents, noise, self._tensors["timesteps"][step : step + 1].long(), (0,)))]


def _recorded_ids(case: Mapping[str, Any]) -> dict[str, list[int]]:
    """Token ids of the subject, of the captions, and of what stands before the subject in them."""
    subject = case["instance_prompt"]
    inner = case["instance_token_ids"][1:-1]
    ids = {subject: inner}
    for template, recorded in zip(CAPTION_TEMPLATES, case["template_token_ids"], strict=True):
        ids[template.format(subject)] = recorded[1:-1]
        ids[template.partition("{}")[0].strip()] = recorded[1 : -1 - len(inner)]
    return ids


def _prompt_tokens(prompt: str, ids: Sequence[int]) -> PromptTokens:
    return chunked_tokens(prompt, _pieces(ids))


def _pieces(ids: Sequence[int]) -> list[Piece]:
    return [Piece(id, str(id).encode(), True) for id in ids]


def _figures(
    case: Mapping[str, Any], tensors: Mapping[str, Tensor], predictions: list[Tensor], result: Any
) -> list[tuple[str, float, float]]:
    recorded = {"loss": "loss_total", "error": "mse", "drift_first": "l_first", "drift_rest": "l_second"}
    figures = [
        (f"{name}, first 3 steps", _largest(result.history[:3], name, case[key][:3]), 1e-5)
        for name, key in recorded.items()
    ]
    figures.append(("prediction, step 0", float((predictions[0] - tensors["model_pred"][:1]).abs().max()), 1e-4))
    wanted = tensors["residual"]
    relative = float((result.residual - wanted).norm() / wanted.norm())
    figures.append(("residual, relative L2", relative, 1e-2 if case["learning_rate"] >= 1e-3 else 1e-3))
    return figures


def _largest(history: Sequence[Mapping[str, float]], name: str, wanted: Sequence[float]) -> float:
    """Largest error, relative where the figure exceeds 1 (the drifts reach 300)."""
    return max(abs(record[name] - value) / max(1.0, abs(value)) for record, value in zip(history, wanted, strict=True))
