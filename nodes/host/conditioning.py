"""Adds to a conditioning what changes it: the layout it carries, and the residuals in its tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...cones2.concepts.concept import changed_rows
from ...cones2.concepts.fingerprint import FINGERPRINT_KEY, from_other_encoder
from ...cones2.concepts.pictured import PicturedSubject, PlacedPictures
from ...cones2.concepts.residual import PlacedResidual, Residual, rows_for
from ...cones2.errors import LayoutError, PromptError
from ...cones2.layout.regions import Layout
from ...cones2.messages import shown
from ...cones2.prompt.claims import Claim, locate_subjects, parse_phrase
from ...cones2.rules import GuidanceSettings
from .bound_layout import LAYOUT_KEY, PhotoStart, Window, bind_layout
from .prompt_record import PROMPT_KEY, PromptRecord, check_in, check_known, occurs, prompt_record, read_prompt
from .prompt_streams import Stream
from .vision_rows import vision_rows

if TYPE_CHECKING:
    from comfy.sd import CLIP

log = logging.getLogger(__name__)

Entry = tuple[Tensor, dict[str, Any]]
"""An encoded prompt [B, L, d] and its options."""

Subject = Residual | PicturedSubject
"""What a subject's socket carries."""

Conditioning = Sequence[Entry]
"""The host's CONDITIONING: the prompts that sample together."""


def remembering(conditioning: Conditioning, clip: CLIP | None, text: str) -> Conditioning:
    """The conditioning with the words of prompts that another text node encoded.

    clip, text: what that node was given. Raises PromptError where neither the conditioning nor they tell the words.
    """
    return [_entry(cond, options, PROMPT_KEY, _record(cond, options, clip, text)) for cond, options in conditioning]


def guide_conditioning(
    conditioning: Conditioning,
    layout: Layout,
    guidance: GuidanceSettings,
    window: Window,
    photos: PhotoStart | None = None,
) -> Conditioning:
    """The conditioning with the layout bound to the words of its prompts; an earlier layout is replaced.

    Raises PromptError for a subject that occurs in none of the combined prompts.
    """
    records = [prompt_record(options) for _, options in conditioning]
    subjects = [parse_phrase(subject).come_from("layout") for subject in layout.subjects]
    check_known(records, [subject for subject in subjects if subject.phrase])
    layouts = [bind_layout(layout, record, guidance, window, photos) for record in records]
    return [
        _entry(cond, options, LAYOUT_KEY, bound) for (cond, options), bound in zip(conditioning, layouts, strict=True)
    ]


def guide_again(
    conditioning: Conditioning, guidance: GuidanceSettings, window: Window, photos: PhotoStart | None = None
) -> Conditioning:
    """The conditioning with the layouts that its prompts carry, each at these numbers.

    Raises LayoutError when none of them carries one.
    """
    if all(options.get(LAYOUT_KEY) is None for _, options in conditioning):
        raise LayoutError("no layout is connected, and the positive prompt carries none: connect a layout, or Scene")
    return [
        entry if entry[1].get(LAYOUT_KEY) is None else _bound_again(entry, guidance, window, photos)
        for entry in conditioning
    ]


def _bound_again(entry: Entry, guidance: GuidanceSettings, window: Window, photos: PhotoStart | None) -> Entry:
    cond, options = entry
    bound = bind_layout(options[LAYOUT_KEY].layout, prompt_record(options), guidance, window, photos)
    return _entry(cond, options, LAYOUT_KEY, bound)


def place_residuals(
    conditioning: Conditioning, residuals: Sequence[Subject], clip: CLIP | None = None, text: str = ""
) -> Conditioning:
    """The conditioning with each residual added wherever its phrase occurs; it remembers subjects from pictures.

    clip, text: what a conditioning that does not remember its prompt was encoded from.
    Raises PromptError for a phrase that occurs in none of the combined prompts, ResidualError for a residual of
    another text encoder or width.
    """
    records = [_record(cond, options, clip, text) for cond, options in conditioning]
    # of two mistakes the one that no other phrase mends is said: all residuals fit before their phrases are sought
    homes = [[_home(subject, cond, record) for subject in residuals]
             for (cond, _), record in zip(conditioning, records, strict=True)]  # fmt: skip
    for number, subject in enumerate(residuals):
        check_in([home[number] for home in homes], subject.reference)
    return [
        _place(cond, options, record, [s for s, home in zip(residuals, own, strict=True) if occurs(home, s.reference)])
        for (cond, options), record, own in zip(conditioning, records, homes, strict=True)
    ]


def _record(cond: Tensor, options: dict[str, Any], clip: CLIP | None, text: str) -> PromptRecord:
    if PROMPT_KEY in options or clip is None or not text.strip():
        return prompt_record(options)
    record = read_prompt(clip, text)[0].of(cond)
    if record.tokens.length > cond.shape[1]:
        raise PromptError(
            f"the text has {record.tokens.length} tokens with padding but the conditioning only {cond.shape[1]}: "
            "repeat the text it was encoded from"
        )
    if record.family.key == "qwen_image":
        pictures = vision_rows(clip, text, cond.shape[1], options.get("reference_latents") or ())
        return replace(record, pictures=pictures)
    return record


def _home(subject: Subject, cond: Tensor, record: PromptRecord) -> Stream:
    """The stream whose tokens a subject stands at: that of its text encoder, or the first."""
    if not isinstance(subject, Residual):
        return record.streams[0]
    return record.stream_of(rows_for(subject, record.family, record.rows, cond.shape[-1]))


def _place(cond: Tensor, options: dict[str, Any], record: PromptRecord, residuals: Sequence[Subject]) -> Entry:
    """The entry with all its residuals, earlier and new, as if they had been added together."""
    together = [placed.concept for placed in record.placed] + list(residuals)
    placed = _placed(together, cond, record)
    for each in placed[len(record.placed) :]:
        if isinstance(each, PlacedResidual):
            _warn_of_other_encoder(each, cond, record)
    clean = cond if record.clean is None else record.clean
    changed = _moved(cond, changed_rows(clean, record.placed), changed_rows(clean, placed))
    return _entry(changed, options, PROMPT_KEY, record.with_placed(placed, clean))


def _placed(together: Sequence[Subject], cond: Tensor, record: PromptRecord) -> list[PlacedResidual | PlacedPictures]:
    """All subjects of a prompt at the tokens that each owns in its stream, beside the others."""
    homes = [_home(subject, cond, record) for subject in together]
    claims: dict[int, Claim] = {}
    for home in {id(home): home for home in homes}.values():
        there = [n for n, own in enumerate(homes) if own is home or occurs(home, together[n].reference)]
        found = locate_subjects(home.tokens, [together[n].reference for n in there], home.tokenize)
        claims |= {n: claim for n, claim in zip(there, found, strict=True) if homes[n] is home}
    return [_at(subject, claims[n], cond, record) for n, subject in enumerate(together)]


def _at(subject: Subject, claim: Claim, cond: Tensor, record: PromptRecord) -> PlacedResidual | PlacedPictures:
    if not isinstance(subject, Residual):
        return subject.at(claim)
    rows = rows_for(subject, record.family, record.rows, cond.shape[-1])
    return subject.at(claim, rows.width if rows.width < record.family.width else cond.shape[-1])


def trained(subjects: Sequence[Subject]) -> list[Residual]:
    """Those of the subjects that have a residual."""
    return [subject for subject in subjects if isinstance(subject, Residual)]


def _moved(cond: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The conditioning [..., L, d] after the change from `before` to `after`.

    Other nodes may have altered or lengthened it since: what is no longer `before` is moved by the difference.
    """
    length = min(cond.shape[-2], before.shape[-2])
    own, before, after = cond[..., :length, :], before[..., :length, :], after[..., :length, :]
    own = torch.where(own == before, after, own + (after - before))
    return torch.cat([own, cond[..., length:, :]], dim=-2)


def _entry(cond: Tensor, options: dict[str, Any], key: str, value: object) -> Entry:
    return cast(Entry, [cond, {**options, key: value}])  # lists are what the host writes


def _warn_of_other_encoder(placed: PlacedResidual, cond: Tensor, record: PromptRecord) -> None:
    residual = placed.residual
    if FINGERPRINT_KEY not in residual.metadata and not record.family.is_told_by_width:
        return
    other = from_other_encoder(residual, cond[..., : placed.width])
    if other:
        log.warning(
            'the residual "%s" was trained with another text encoder or CLIP skip than this conditioning (its base '
            "model: %s)",
            residual.subject,
            shown(residual.metadata.get("base_model", "not stated")),
        )
    elif other is None and record.layer != record.family.layer:
        log.warning(
            '"%s" is added to a conditioning of text-encoder layer %d (CLIP skip); '
            "residuals are usually trained on layer %d",
            residual.subject,
            record.layer,
            record.family.layer,
        )
