"""What a run found: report.json, report.md and contact sheets, from its finished pictures alone.

The same pictures give the same bytes: nothing in a report depends on when or where it was written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..storage.files import write_atomically
from .arms import PEERS, Arm
from .cases import Suite, scene_name
from .comparison import CLOSE, COMPARED, cheapest, differences
from .results import Result, Results
from .runner import folder_name
from .scores import Scores, Share, by_subject, leakage, scores
from .sheets import contact_sheet

PEER_WARNING = (
    "The other ways (area, couple, dense) are written from their formulas and were not tuned, and the toy world "
    "favors the layout term: its denoiser was trained so that a noun's token alone carries its object, and never saw a "
    "picture without objects. Do not quote this ranking for Stable Diffusion."
)
# title → what a row shows of its scores, in the order of the table
COLUMNS: dict[str, Callable[[Scores], str]] = {
    "there": lambda s: str(s.there),
    "all there": lambda s: str(s.all_there),
    "in place": lambda s: str(s.in_place),
    "all in place": lambda s: str(s.all_in_place),
    "overlap": lambda s: f"{s.overlap:.2f}",
    "own look": lambda s: str(s.own),
    "exact": lambda s: str(s.exact),
    "right and in place": lambda s: str(s.right),
    "all right and in place": lambda s: str(s.all_right),
    "other's color": lambda s: str(s.leaked),
    "any foreign color": lambda s: str(s.foreign),
    "unnamed": lambda s: f"{s.unnamed:.2f}",
    "background": lambda s: str(s.background),
    "variety": lambda s: "–" if s.variety is None else f"{s.variety:.2f}",
}
OF_SUBJECT = ("in place", "own look", "exact", "right and in place")
"""Columns that are also shown for each subject."""


def write_report(results: Results, arms: Sequence[Arm], suites: Sequence[Suite], decides: Mapping[str, Any]) -> str:
    """Write report.json, report.md and sheets/ into the run's folder; the Markdown. decides: the run's settings."""
    tables = [_table(results, arms, suite) for suite in suites]
    compared = [_comparison(results, arms, suite) for suite in suites]
    if len(suites) > 1 and len(arms) > 1:
        everywhere = {arm: [r for suite in suites for r in results.of(suite.name, arm.name)] for arm in arms}
        compared.append("\n".join(["### All suites together", "", *_best(everywhere)]))
    looks = [(suite, arm) for suite in suites for arm in arms if arm.looks != "words"]
    subjects = [_subjects(results, arm, suite) for suite, arm in looks]
    leaks = [_leakage(results, arm, suite) for suite, arm in looks]
    parts = ["# Evaluation", _settings(decides), *tables, *filter(None, (*compared, *subjects, *leaks))]
    if any(arm.placing in PEERS for arm in arms):
        parts.insert(2, PEER_WARNING)
    text = "\n\n".join(parts) + "\n"
    rows = [_row(results, arm, suite) for suite in suites for arm in arms]
    data = json.dumps({"settings": dict(decides), "rows": rows}, indent=1, ensure_ascii=False) + "\n"
    write_text(results.folder / "report.md", text)
    write_text(results.folder / "report.json", data)
    for suite in suites:
        for arm in arms:
            _write_sheet(results, arm, suite)
    return text


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _settings(decides: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in decides.items())
    return f"Settings: {shown}. Shares with Wilson 95 % intervals; docs/evaluation.md says what each column means."


def _table(results: Results, arms: Sequence[Arm], suite: Suite) -> str:
    rows = []
    for arm in arms:
        done = results.of(suite.name, arm.name)
        figures = _figures(done)
        forwards = sum(result.forwards for result in done) / max(len(done), 1)
        cells = [column(figures) for column in COLUMNS.values()]
        rows.append([arm.name, str(figures.pictures), f"{forwards:g}", *cells])
    return f"## {suite.name}\n\n" + markdown_table(["arm", "n", "forwards", *COLUMNS], rows)


def _comparison(results: Results, arms: Sequence[Arm], suite: Suite) -> str:
    """The other arms against the first on the same scenes, and the cheapest as good as the best."""
    done = [(arm.name, results.of(suite.name, arm.name)) for arm in arms]
    (first, before), *others = done
    rows = [
        [name, *(str(one) + (" *" if one.is_clear else "") for one in gains.values())]
        for name, after in others
        if (gains := differences(before, after))
    ]
    if not rows:
        return ""
    lines = [f"### {suite.name}: differences to `{first}` on the same scenes (* the interval leaves out 0)"]
    lines += ["", markdown_table(["arm", *COMPARED], rows), ""]
    return "\n".join([*lines, *_best({arm: results.of(suite.name, arm.name) for arm in arms})])


def _best(done: Mapping[Arm, Sequence[Result]]) -> list[str]:
    """The best arm by each figure, and the cheapest that is as good, with what they cost."""
    costs = {
        arm.name: sum(r.forwards for r in found) / len(found) / arm.plain_forwards
        for arm, found in done.items()
        if found
    }
    lines = []
    for what in COMPARED:
        if found := cheapest([(arm.name, results) for arm, results in done.items()], what):
            best, enough = (f"`{name}` ({costs[name]:.2f} × the forwards of a plain run)" for name in found)
            lines.append(f"- {what}: best {best}, cheapest within {CLOSE} of it {enough}")
    return lines


def _subjects(results: Results, arm: Arm, suite: Suite) -> str:
    """How each subject of a suite fares in an arm that asks for looks."""
    figures = by_subject(result.verdict for result in results.of(suite.name, arm.name))
    if not figures:
        return ""
    rows = [[name, str(one.pictures), *(COLUMNS[what](one) for what in OF_SUBJECT)] for name, one in figures.items()]
    return f"### {suite.name}, {arm.name}: by subject\n\n" + markdown_table(["subject", "n", *OF_SUBJECT], rows)


def _leakage(results: Results, arm: Arm, suite: Suite) -> str:
    """The matrix of an arm in a suite; nothing where no two subjects were in a picture."""
    pairs = leakage(result.verdict for result in results.of(suite.name, arm.name))
    if not pairs:
        return ""
    names = sorted({name for pair in pairs for name in pair})
    rows = [
        [name, *(f"{s.hits}/{s.n}" if (s := pairs.get((name, other))) else "–" for other in names)] for name in names
    ]
    title = f"### {suite.name}, {arm.name}: subjects (rows) that show a color only the other one (column) has"
    return f"{title}\n\n" + markdown_table(["", *names], rows)


def _row(results: Results, arm: Arm, suite: Suite) -> dict[str, Any]:
    done = results.of(suite.name, arm.name)
    verdicts = [result.verdict for result in done]
    figures = _figures(done)
    pairs = leakage(verdicts)
    return {
        "suite": suite.name,
        "arm": arm.name,
        "forwards": sum(result.forwards for result in done) / max(len(done), 1),
        **_fields(figures),
        "by_subject": {name: _fields(one) for name, one in by_subject(verdicts).items()},
        "leakage": [{"subject": one, "other": other, **_plain(share)} for (one, other), share in pairs.items()],
    }


def _fields(figures: Scores) -> dict[str, Any]:
    return {field.name: _plain(getattr(figures, field.name)) for field in fields(figures)}


def _figures(done: Sequence[Result]) -> Scores:
    return scores([result.verdict for result in done], [scene_name(result.key.case) for result in done])


def _plain(value: Any) -> Any:
    if not isinstance(value, Share):
        return value
    low, high = value.interval
    return {"hits": value.hits, "n": value.n, "share": value.value, "low": low, "high": high}


def _write_sheet(results: Results, arm: Arm, suite: Suite) -> None:
    done = {result.key.case: results.folder / result.picture for result in results.of(suite.name, arm.name)}
    shown = [(done[case.name], case) for case in suite.cases if case.name in done]
    if shown:
        sheet = contact_sheet(shown)
        path = results.folder / "sheets" / f"{folder_name(suite.name)} {folder_name(arm.name)}.png"
        write_atomically(path, lambda stream: sheet.save(stream, "PNG"), overwrite=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, over an older one. Raises Cones2Error when the disk refuses."""
    write_atomically(path, lambda stream: stream.write(text.encode()), overwrite=True)
