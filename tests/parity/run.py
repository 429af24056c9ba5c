"""Parity with the published computation, as a command.

    python tests/parity.py DIR [--models DIR2] [--only G1,G2] [--tokenizer DIR]

Runs every reference case below DIR through the engine under the published rules and prints a line
for each. Exit code 1 when a case fails or none was found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.parity.attention import run_attention
from tests.parity.custom_diffusion import delta_cases, run_delta_case
from tests.parity.maps import run_maps
from tests.parity.mip import mip_cases, run_mip
from tests.parity.models import ReferenceModels, find_tokenizer
from tests.parity.references import Case, References
from tests.parity.report import NotApplicable, Outcome
from tests.parity.sampling import run_sampling
from tests.parity.training import run_training


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that the command line names; returns the exit code."""
    options = _parser().parse_args(arguments)
    roots = [Path(options.dir), *([Path(options.models)] if options.models else [])]
    for root in roots:
        if not root.is_dir():
            print(f"there is no folder {root}", file=sys.stderr)
            return 1
    references = References(roots, lambda: find_tokenizer(Path(options.tokenizer) if options.tokenizer else None))
    only = tuple(part.strip() for part in options.only.split(",")) if options.only else ("",)
    return run_all(references, only)


def run_all(references: References, only: tuple[str, ...] = ("",)) -> int:
    """Run the cases whose names start with one of `only`; returns the exit code."""
    models = ReferenceModels(references)
    passed = failed = 0
    for case in [*references.cases(), *mip_cases(references.roots[0]), *delta_cases(references.roots[0])]:
        if not case.name.startswith(only):
            continue
        outcome = run_case(case, references, models)
        if isinstance(outcome, Outcome):
            passed, failed = passed + outcome.ok, failed + (not outcome.ok)
        for line in _lines(case, outcome):
            print(line, flush=True)
    if not passed + failed:
        print(f"no reference cases in {references.roots[0]}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def run_case(case: Case, references: References, models: ReferenceModels) -> Outcome | NotApplicable:
    """The outcome of one case; a case that cannot be run fails and says why."""
    try:
        if case.kind == "G1":
            return run_maps(case, references)
        if case.kind == "G2":
            return run_attention(case)
        if case.kind.startswith("MIP"):
            return run_mip(case, references)
        if case.kind.startswith("CD"):
            return run_delta_case(case, references)
        if case.kind == "G5":
            return run_training(case, models)
        return run_sampling(case, references, models)
    except NotApplicable as reason:
        return reason
    except Exception as error:  # one broken case must not hide the others
        return Outcome(case.name, notes=[f"{type(error).__name__}: {error}"])


def _lines(case: Case, outcome: Outcome | NotApplicable) -> list[str]:
    if isinstance(outcome, NotApplicable):
        return [f"{case.name}: not applicable ({outcome})"]
    if not outcome.figures:
        return [f"{case.name}: {' '.join(outcome.notes) or 'nothing stored to compare'} — FAILED"]
    return [outcome.line(), *(f"{case.name}: {note}" for note in outcome.notes)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run reference cases of the published code through the engine.")
    parser.add_argument("dir", metavar="DIR", help="folder with the cases G1 … G5, CD1 … CD4, MIP1 … MIP4")
    parser.add_argument(
        "--models", metavar="DIR2", help="folder with models, noise, residuals and layouts that DIR lacks"
    )
    parser.add_argument("--only", metavar="G1,G2", help="only cases whose names start so")
    parser.add_argument(
        "--tokenizer", metavar="DIR", help="CLIP vocab.json and merges.txt, for prompts without stored ids"
    )
    return parser
