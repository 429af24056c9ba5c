"""The findings about a folder of pictures as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .concept101 import Confusion, Findings
from .report import markdown_table

_HEADER = ("pictures", "CLIP-T", "CLIP-I", "DINO")


def as_markdown(findings: Findings) -> str:
    """Averages, groups, subjects and confusion as tables."""
    groups = [
        (
            " + ".join(names),
            str(group.pictures),
            _short(group.clip_t),
            _short(sum(group.clip_i.values()) / len(group.clip_i)),
            _short(sum(group.dino.values()) / len(group.dino)),
        )
        for names, group in findings.groups.items()
    ]
    averages = (_short(findings.clip_t), _short(findings.clip_i), _short(findings.dino))
    everything = ("**all**", str(findings.subjects.pictures), *averages)
    subjects = [
        (name, _short(likeness), _short(findings.subjects.dino[name]))
        for name, likeness in findings.subjects.clip_i.items()
    ]
    parts = [
        "# Pictures against photos",
        "CLIP-T: 2.5 · max(cos, 0) with the prompt. CLIP-I, DINO: mean cosine over all generated × reference pictures.",
        markdown_table(("subjects", *_HEADER), [*groups, everything]),
        markdown_table(("subject", "CLIP-I", "DINO"), subjects),
        _confusion(findings.confusion),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(findings: Findings) -> str:
    """The same numbers unrounded."""
    data: dict[str, Any] = {
        "clip_t": findings.clip_t,
        "clip_i": findings.clip_i,
        "dino": findings.dino,
        "groups": [{"subjects": list(names), **asdict(group)} for names, group in findings.groups.items()],
        "subjects": asdict(findings.subjects),
        "confusion": {name: None if one is None else _plain(one) for name, one in findings.confusion.items()},
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _confusion(confusion: Mapping[str, Confusion | None]) -> str:
    rows = [
        (name, str(one.mistaken.n), *map(_short, (one.own, one.other, one.margin)), str(one.mistaken))
        for name, one in confusion.items()
        if one is not None
    ]
    if not rows:
        return "No picture has two regions: whether subjects are confused was not measured."
    return markdown_table(("regions by", "n", "own", "other", "own − other", "more like another subject"), rows)


def _plain(one: Confusion) -> dict[str, Any]:
    low, high = one.mistaken.interval
    mistaken = {"hits": one.mistaken.hits, "n": one.mistaken.n, "low": low, "high": high}
    return {"own": one.own, "other": one.other, "margin": one.margin, "mistaken": mistaken}


def _short(value: float) -> str:
    return f"{value:.3f}"
