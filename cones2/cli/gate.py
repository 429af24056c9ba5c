"""`cones2 evaluate gate`: the quality gate, always drawn anew."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..evaluation.gate import ARMS, BOUNDS, COUNT, SEED, SUBJECTS, problems
from ..evaluation.scores import scores
from .evaluation_run import EvaluateOptions, judged_pictures


def run_gate(processes: int | None = None) -> int:
    """Draw the gate's scenes and print their figures; exit status 1 when one is out of bounds."""
    with tempfile.TemporaryDirectory() as folder:
        options = EvaluateOptions(COUNT, SEED, Path(folder), (SUBJECTS,), ("boxes",), ARMS, processes=processes)
        results = judged_pictures(options)
        if results is None:
            return 0
        (suite,) = options.suites()
        figures = {arm.name: scores([r.verdict for r in results.of(suite.name, arm.name)]) for arm in ARMS}
    for bound in BOUNDS:
        print(bound.sentence(figures[bound.arm]))
    found = problems(figures)
    print("\n".join(["", "out of bounds:", *found]) if found else "the gate is passed")
    return 1 if found else 0
