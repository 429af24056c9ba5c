"""G2: one attention call of the published processor against the engine's guided attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cones2.guidance.cross_attention import guided_attention, layout_bias, score_std
from cones2.sampling.noise import log_growth
from tests.parity.references import Case, ParityError
from tests.parity.report import Figure, Outcome, difference

TOLERANCE = 1e-5
_MODES = ("cond", "uncond", "plain", "self")


def run_attention(case: Case) -> Outcome:
    """Compare the standard deviation, the additive term and the output of one G2 case."""
    outcome, data = Outcome(case.name), case.data
    if data["mode"] not in _MODES:
        raise ParityError(f'{case.name} has the mode "{data["mode"]}", known are {", ".join(_MODES)}')
    tensors = {name: tensor.float() for name, tensor in case.tensors.items()}
    hidden = tensors["hidden_states"]
    context = tensors.get("encoder_hidden_states", hidden)
    q = _project(tensors, "to_q", hidden, data["heads"])
    k = _project(tensors, "to_k", context, data["heads"])
    v = _project(tensors, "to_v", context, data["heads"])
    bias = _bias(outcome, case, tensors, q, k) if data["mode"] == "cond" else None
    attended = guided_attention(q, k, v, bias).transpose(1, 2).flatten(2)
    outcome.figures.append(difference("output", _linear(tensors, "to_out.0", attended), tensors["output"], TOLERANCE))
    return outcome


def _bias(outcome: Outcome, case: Case, tensors: dict[str, Tensor], q: Tensor, k: Tensor) -> Tensor:
    """The engine's additive term, with its own parts compared where they are stored."""
    data, rows = case.data, case.data["weight_columns"]
    weights = tensors["weight_map_columns"]
    bias = layout_bias(q, k, weights, rows, data["guidance_weight"], log_growth(data["sigma"]), joint_batch=True)
    if "raw_scores_std" in data:
        stored = float(data["raw_scores_std"])
        error = abs(float(score_std(q, k, joint_batch=True)[0]) / stored - 1) if stored else float("inf")
        outcome.figures.append(Figure("std of the raw scores (relative)", error, TOLERANCE))
    stored_term = tensors["additive_columns"]
    scale = max(float(stored_term.abs().max()), 1e-30)
    ours = bias[0, 0][:, rows] * q.shape[-1] ** 0.5
    tolerance = TOLERANCE + _lost_in_published_log(data["sigma"])
    outcome.figures.append(difference("additive term (relative)", ours / scale, stored_term / scale, tolerance))
    others = [column for column in range(bias.shape[-1]) if column not in rows]
    outcome.figures.append(Figure("additive term, other columns", float(bias[..., others].abs().sum()), 0.0))
    return bias


def _lost_in_published_log(sigma: float) -> float:
    """Relative error of log(1 + σ²) as published: 1 + σ² is rounded to float32 first."""
    return 2.0**-23 / math.log1p(sigma**2) if sigma else 0.0


def _project(tensors: dict[str, Tensor], name: str, inputs: Tensor, heads: int) -> Tensor:
    return _linear(tensors, name, inputs).unflatten(-1, (heads, -1)).transpose(1, 2)


def _linear(tensors: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    return torch.nn.functional.linear(inputs, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))
