"""Fills MODEL_CARD.md: tables from a report of `python -m cones2 evaluate toyworld`, the curve from a training log.

The report's rows are kept beside the card as scores.json, so that the card can be written again without drawing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from cones2.assets import TOYWORLD
from cones2.evaluation.report import markdown_table
from cones2.evaluation.scores import Share

CARD, SCORES = TOYWORLD / "MODEL_CARD.md", TOYWORLD / "scores.json"
CURVE, SHEET = TOYWORLD / "curve.png", TOYWORLD / "sheet.png"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
SHOWN = (
    "2_boxes layout recurrence=off.png",
    "2_swapped layout recurrence=off.png",
    "4_boxes layout recurrence=off.png",
    "2_boxes both recurrence=off.png",
)
"""Contact sheets."""
SHEET_ROWS = 4  # of a contact sheet of 32 pictures; the card shows the first
PLACES = {
    "all there": "all_there",
    "in place": "in_place",
    "all in place": "all_in_place",
    "unnamed": "unnamed",
    "background": "background",
}
LOOKS = {"in place": "in_place", "own look": "own", "exact": "exact", "all right and in place": "all_right"}

Row = Mapping[str, Any]


def cell(value: Any) -> str:
    """A figure of report.json as a table shows it."""
    return f"{value:.2f}" if isinstance(value, float) else str(Share(value["hits"], value["n"]))


def table(rows: Iterable[Row], columns: Mapping[str, str]) -> str:
    """Suite, arm, n, forwards and some figures of each row."""
    lines = [
        [r["suite"], r["arm"], str(r["pictures"]), f"{r['forwards']:g}", *(cell(r[key]) for key in columns.values())]
        for r in rows
    ]
    return markdown_table(["scenes", "arm", "n", "forwards", *columns], lines)


def subjects_table(rows: Sequence[Row]) -> str:
    """Own look of each custom subject, in every arm that asks for looks."""
    arms = [f"{row['suite']}, {row['arm']}" for row in rows]
    names = sorted({name for row in rows for name in row["by_subject"]})
    lines = [
        [name, *(cell(row["by_subject"][name]["own"]) if name in row["by_subject"] else "–" for row in rows)]
        for name in names
    ]
    return markdown_table(["subject", *arms], lines)


def figures(report: Mapping[str, Any]) -> str:
    """The part of the card between the markers."""
    settings = ", ".join(f"{key} {value}" for key, value in report["settings"].items())
    places = [row for row in report["rows"] if row["arm"].split(",")[0] in ("nothing", "layout")]
    looks = [row for row in report["rows"] if row not in places]
    return "\n\n".join(
        [
            f"Settings: {settings}.",
            "### Class words in their places",
            table(places, PLACES),
            "### Looks",
            table(looks, LOOKS),
            "### Own look of each custom subject",
            subjects_table(looks),
        ]
    )


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


def joined(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows of several reports under the settings of the first."""
    return {"settings": reports[0]["settings"], "rows": [row for report in reports for row in report["rows"]]}


def draw_sheet(runs: Sequence[Path]) -> Image.Image:
    """The first row of some contact sheets of the runs, below each other."""
    strips = []
    for name in SHOWN:
        path = next(run / "sheets" / name for run in runs if (run / "sheets" / name).exists())
        with Image.open(path) as sheet:
            strips.append(sheet.crop((0, 0, sheet.width, sheet.height // SHEET_ROWS)))
    picture = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture


def main() -> None:
    """Rewrite the card's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, help="the denoiser's training log (WORK/unet.log)")
    parser.add_argument("--runs", type=Path, nargs="+", help="folders that `cones2 evaluate toyworld` wrote")
    options = parser.parse_args()
    if options.runs:
        reports = [json.loads((run / "report.json").read_text()) for run in options.runs]
        SCORES.write_text(json.dumps(joined(reports), indent=1, ensure_ascii=False) + "\n")
        draw_sheet(options.runs).save(SHEET, optimize=True)
    if options.log:
        draw_curve(options.log).save(CURVE, optimize=True)
    before, rest = CARD.read_text().split(BEGIN)
    after = rest.split(END)[1]
    CARD.write_text(f"{before}{BEGIN}\n\n{figures(json.loads(SCORES.read_text()))}\n\n{END}{after}")


if __name__ == "__main__":
    main()
