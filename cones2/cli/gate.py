"""`cones2 evaluate gate`: the quality gate, always drawn anew."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..evaluation.gate import ARMS, COUNT, SEED, SUBJECTS, problems
from ..evaluation.results import Results
from ..evaluation.scores import scores
from .evaluation_run import EvaluateOptions, run_evaluation


def run_gate(processes: int | None = None) -> int:
    """Draw the gate's scenes and print their figures; exit status 1 when one is out of bounds."""
    with tempfile.TemporaryDirectory() as folder:
        options = EvaluateOptions(COUNT, SEED, Path(folder), (SUBJECTS,), ("boxes",), ARMS, processes=processes)
        run_evaluation(options)
        results = Results(options.out)
        (suite,) = options.suites()
        figures = {arm.name: scores([r.verdict for r in results.of(suite.name, arm.name)]) for arm in ARMS}
    found = problems(figures)
    print("\n".join(found) or "the gate is passed")
    return 1 if found else 0
