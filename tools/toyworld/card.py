"""Fills MODEL_CARD.md: tables from scores.json, the curve from a training log."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from cones2.assets import TOYWORLD

CARD, SCORES = TOYWORLD / "MODEL_CARD.md", TOYWORLD / "scores.json"
CURVE, SHEET = TOYWORLD / "curve.png", TOYWORLD / "sheet.png"
# contact sheet of evaluate.py: how many of its rows the card shows
SHOWN = {
    "presence_1": 2,
    "presence_3": 1,
    "layout_mug_house_off": 1,
    "layout_mug_house_on": 1,
    "layout_mug_house_swapped": 1,
}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

Row = Mapping[str, float]


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(header), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _short(value: float) -> str:
    return f"{value:.2f}"


def presence_table(scores: Mapping[str, Row]) -> str:
    """Named classes present, unguided."""
    rows = [
        (str(k), str(s["n"]), *(_short(s[key]) for key in ("each", "all", "extra_per_picture")))
        for k in (1, 2, 3)
        if (s := scores.get(f"presence_{k}"))
    ]
    return table(("objects", "n", "each present", "all present", "unnamed classes per picture"), rows)


def removal_table(scores: Mapping[str, Row]) -> str:
    """What a noun is worth."""
    s = scores["removal"]
    row = (str(s["n"]), *(_short(s[key]) for key in ("named", "noun_removed", "other_object")))
    return table(("n", "present when named", "present with its noun removed", "the other object then"), [row])


def layout_table(scores: Mapping[str, Mapping[str, Row]]) -> str:
    """Objects in their boxes."""
    rows = []
    for name, arms in scores.items():
        if name.startswith("layout_"):
            words = " + ".join(name.removeprefix("layout_").split("_"))
            for arm, s in arms.items():
                rows.append((words, arm, str(s["n"]), *(_short(s[key]) for key in ("each", "all", "iou", "present"))))
    return table(("objects", "layout", "n", "each in its box", "all in their boxes", "mean IoU", "all present"), rows)


def fidelity_table(scores: Mapping[str, Mapping[str, Row]]) -> str:
    """Custom subjects."""
    rows = []
    for subject, s in scores["fidelity"].items():
        arms = [f"{_short(s[f'{a}_exact'])} / {_short(s[f'{a}_both_colors'])}" for a in ("class_word", "described")]
        last = "residual_exact" in s and f"{_short(s['residual_exact'])} / {_short(s['residual_both_colors'])}"
        rows.append((subject.replace("_", " "), f"{s['n']:.0f}", *arms, last or "-"))
    return table(("subject", "n", "class word", "described in words", "residual"), rows)


def detector_table(scores: Mapping[str, Row]) -> str:
    """The judge."""
    s = scores["detector"]
    keys = ("objects", "found", "look_right", "false_per_picture")
    rows = [
        (name, f"{s[f'{name}_objects']}", *(f"{s[f'{name}_{k}']:.3f}" for k in keys[1:]))
        for name in ("clean", "decoded")
    ]
    return table(
        ("fresh renderings", "objects", "found", "found with the exact look", "false classes per picture"), rows
    )


def figures(scores: Mapping[str, Any]) -> str:
    """The part of the card between the markers."""
    sections: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "The detector": detector_table,
        "Presence without guidance": presence_table,
        "A noun carries its object": removal_table,
        "Layout": layout_table,
        "Custom subjects (exact look / both colors right)": fidelity_table,
    }
    needed = {detector_table: "detector", removal_table: "removal", fidelity_table: "fidelity"}
    parts = [
        f"### {title}\n\n{make(scores)}" for title, make in sections.items() if needed.get(make, "presence_1") in scores
    ]
    return "\n\n".join(parts)


def draw_curve(
    log: Path, keys: tuple[str, ...] = ("error", "stray"), size: tuple[int, int] = (480, 200)
) -> Image.Image:
    """Smoothed training values over steps, each scaled to its own maximum."""
    rows = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    last = max(row["step"] for row in rows)
    for key, color in zip(keys, ("#1f5fbf", "#c0392b"), strict=False):
        top = max(row[key] for row in rows)
        points = [(20 + row["step"] / last * (size[0] - 40), 180 - row[key] / top * 150) for row in rows]
        pen.line(points, fill=color, width=2)
        pen.text((points[-1][0] - 70, points[-1][1] - 14), f"{key} {rows[-1][key]:.3f}", fill=color)
    pen.line([(20, 180), (size[0] - 20, 180)], fill="black")
    pen.text((22, 184), f"0 to {last} steps; each curve scaled to its maximum", fill="black")
    return picture


def draw_sheet(folder: Path, row: int = 66) -> Image.Image:
    """The first rows of the contact sheets in the folder, below each other; `row`: pixels per row."""
    strips = []
    for name, rows in SHOWN.items():
        with Image.open(folder / f"{name}.png") as sheet:
            strips.append(sheet.crop((0, 0, sheet.width, rows * row)))
    picture = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture


def main() -> None:
    """Rewrite the card's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, help="the denoiser's training log (WORK/unet.log)")
    parser.add_argument("--sheets", type=Path, help="the folder that evaluate.py --sheets wrote")
    options = parser.parse_args()
    if options.sheets:
        draw_sheet(options.sheets).save(SHEET, optimize=True)
    if options.log:
        draw_curve(options.log).save(CURVE, optimize=True)
    before, rest = CARD.read_text().split(BEGIN)
    after = rest.split(END)[1]
    CARD.write_text(f"{before}{BEGIN}\n\n{figures(json.loads(SCORES.read_text()))}\n\n{END}{after}")


if __name__ == "__main__":
    main()
