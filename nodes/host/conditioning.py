"""Text nodes: encode a prompt that knows its tokens, and add subjects to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cones2.concepts.fingerprint import from_other_encoder
from ..cones2.concepts.residual import Residual, add_residuals, check_width
from ..cones2.errors import PromptError
from ..cones2.prompt.tokens import locate_subjects
from .host.prompt_record import (
    PROMPT_KEY,
    Placed,
    PromptRecord,
    check_known,
    knows,
    prompt_record,
    read_prompt,
    usual_layer,
)
from .host.sockets import CATEGORY, ResidualSocket

log = logging.getLogger(__name__)

Entry = tuple[Tensor, dict[str, Any]]


Conditioning = list[tuple[Tensor, dict[str, Any]]]


def guide_conditioning(
    conditioning: Conditioning,
    layout: Layout,
    guidance_weight: float,
    window: Window,
    outside_mode: OutsideMode,
    outside_weight: float = DEFAULT_OUTSIDE_WEIGHT,
) -> list[Any]:
    """The conditioning with the layout bound to the words of its prompts; an earlier layout is replaced.

    Each subject must stand in at least one of the combined prompts, else PromptError is raised.
    """
    records = [prompt_record(options) for _, options in conditioning]
    check_known(records, layout.subjects)
    guides = [bind_layout(layout, record, guidance_weight, window, outside_mode, outside_weight) for record in records]
    return [[cond, {**options, GUIDE_KEY: guide}] for (cond, options), guide in zip(conditioning, guides, strict=True)]


def _record(cond: Tensor, options: dict[str, Any], clip: Any, text: str) -> PromptRecord:
    if PROMPT_KEY in options or clip is None or not text.strip():
        return prompt_record(options)
    record, _ = read_prompt(clip, text)
    if record.tokens.length > cond.shape[1]:
        raise PromptError(
            f"the text has {record.tokens.length} rows but the conditioning only {cond.shape[1]}: repeat the text it "
            f"was encoded from"
        )
    return record


def _apply(cond: Tensor, options: dict[str, Any], record: PromptRecord, residuals: list[Residual]) -> list[Any]:
    """The entry with all its residuals, old and new, placed as if they had been added together."""
    for residual in residuals:
        check_width(residual, cond.shape[-1])
        _warn_of_other_encoder(residual, cond, record)
    together = [placed.residual for placed in record.placed] + residuals
    claims = locate_subjects(record.tokens, [residual.subject for residual in together], record.tokenize)
    placed = [Placed(residual, claim.spans) for residual, claim in zip(together, claims, strict=True)]
    return [add_residuals(cond, _changes(record.placed, placed)), {**options, PROMPT_KEY: record.with_placed(placed)}]


def _changes(before: Sequence[Placed], after: Sequence[Placed]) -> list[tuple[Residual, list[tuple[int, ...]]]]:
    """What to add so that `before` becomes `after`; a place that moved is taken back where it was."""
    changes = [(new.residual, list(new.spans)) for new in after[len(before) :]]
    for old, new in zip(before, after, strict=False):
        gone = [rows for rows in old.spans if rows not in new.spans]
        come = [rows for rows in new.spans if rows not in old.spans]
        changes += [(old.residual.with_strength(-old.residual.strength), gone), (old.residual, come)]
    return [(residual, rows) for residual, rows in changes if rows]


def _warn_of_other_encoder(residual: Residual, cond: Tensor, record: PromptRecord) -> None:
    other = from_other_encoder(residual, cond)
    if other:
        log.warning(
            'the residual "%s" was trained with another text encoder or CLIP skip than this conditioning (its base '
            "model: %s)",
            residual.subject,
            residual.metadata.get("base_model", "not stated"),
        )
    elif other is None and record.layer != usual_layer(record.family):
        log.warning(
            '"%s" is added to a conditioning of text-encoder layer %d (CLIP skip); '
            "residuals are usually trained on layer %d",
            residual.subject,
            record.layer,
            usual_layer(record.family),
        )
