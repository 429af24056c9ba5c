"""Constrained merge: several concepts in one delta (Custom Diffusion, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DeltaError
from ..messages import listed, shown
from .changes import Change, Whole
from .delta import Delta, ModifierToken, make_delta, renamed_apart
from .fit import check_fits
from .layers import is_key_or_value
from .merge_prompts import Phrases, our_phrases, rows_of

RIDGE = 1e-9
"""Share of the largest eigenvalue of C that is added to its diagonal."""

_SAME = 1e-4  # relative distance of target rows that count as one
_CONTRADICTION = 0.01  # constraint error, as a share of the largest output, that says that no weight fits all words
_EMPTY = 1e-8  # eigenvalues below this share of the largest are directions that no caption goes

TextRows = Callable[[str], Tensor]
"""Prompt → its conditioning [rows, d] from the start token (row 0) to the end token, the modifier tokens known."""
Encoder = Callable[[Sequence[ModifierToken]], TextRows]
"""Modifier tokens → how a text encoder that knows them reads prompts."""


@dataclass(frozen=True, eq=False)
class MergeResult:
    """A merged delta and how well it was possible.

    constraint_error: largest |W'c − v| over all weights and target words.
    caption_rows: how many rows of captions were kept apart. independent: how many of their directions differ.
    target_rows: how many words of the concepts were constrained.
    notes: what may be worse than hoped, a sentence each.
    """

    delta: Delta
    constraint_error: float
    caption_rows: int
    independent: int
    target_rows: int
    notes: tuple[str, ...] = ()


def merge(
    deltas: Sequence[Delta],
    base: Mapping[str, Tensor],
    encoder: Encoder,
    captions: Sequence[str],
    ridge: float = RIDGE,
    phrases: Phrases = our_phrases,
) -> MergeResult:
    """The concepts of several deltas in one: each word keeps its own keys and values, captions change least.

    Tokens are renamed where two are called the same, and need class words. base: the attention weights by diffusers
    name. captions: ordinary ones, 200 in the published code. Raises DeltaError for fewer than two concepts, a token
    without class word, no captions, or a delta that does not fit the base.
    """
    parts = renamed_apart(deltas)
    tokens = [token for delta in parts for token in delta.tokens]
    _check(parts, tokens, captions)
    for delta in parts:
        check_fits(delta, base)
    encode = encoder(tokens)
    kept = torch.cat([rows_of(encode, caption) for caption in captions])
    targets = [
        torch.cat([rows_of(encode, text) for token in delta.tokens for text in phrases(token.name, token.class_word)])
        for delta in parts
    ]
    return merge_rows(parts, base, kept, targets, ridge)


def merge_rows(
    deltas: Sequence[Delta],
    base: Mapping[str, Tensor],
    kept: Tensor,
    targets: Sequence[Tensor],
    ridge: float = RIDGE,
) -> MergeResult:
    """The merge of deltas whose tokens differ, from rows of text embeddings.

    Raises DeltaError for rows that do not determine it, or words that contradict each other.

    kept: [n, d], whose outputs change least. targets: of each delta [m, d], whose outputs are its own.
    """
    rows, owners, clashes = distinct_rows(targets)
    try:
        solver = _Solver(kept.double(), rows.double(), ridge)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise DeltaError(
            "the merge has no solution: the target words depend on each other, or the captions say nothing"
        ) from error
    places = [(torch.tensor(owners) == index).nonzero().flatten() for index in range(len(deltas))]
    weights: dict[str, Change] = {}
    worst, largest = 0.0, 0.0
    for name in [name for name in base if is_key_or_value(name) and any(name in each.weights for each in deltas)]:
        outputs = solver.targets.new_zeros(len(rows), len(base[name]))
        for delta, own in zip(deltas, places, strict=True):
            outputs[own] = solver.targets[own] @ _own_weight(delta, name, base[name]).double().T
        merged = solver.merged(base[name].double(), outputs)
        worst = max(worst, float((merged @ solver.targets.T - outputs.T).abs().max()))
        largest = max(largest, float(outputs.abs().max()))
        weights[name] = Whole(merged.float())
    if solver.dependent > 0 and not worst <= _CONTRADICTION * largest:
        raise DeltaError(
            f"{solver.dependent} of the {len(rows)} target words depend on others and contradict them "
            f"(constraint error {worst:.1e}): the concepts cannot be merged on this text encoder"
        )
    tokens = [token for delta in deltas for token in delta.tokens]
    notes = [*_notes(deltas, clashes), *solver.notes()]
    facts = {"method": "constrained merge", "merged": str(len(deltas)), "captions": str(len(kept))}
    delta = make_delta(weights, tokens, facts, deltas[0].layers_per_block)
    return MergeResult(delta, worst, len(kept), solver.independent, len(rows), tuple(notes))


def distinct_rows(targets: Sequence[Tensor]) -> tuple[Tensor, list[int], list[tuple[int, int]]]:
    """The target rows [m, d] without repetitions, whose each is, and which pairs of deltas share one.

    Of rows that are the same within 1e-4 the first delta's counts.
    """
    rows: list[Tensor] = []
    owners: list[int] = []
    clashes: list[tuple[int, int]] = []
    for owner, own in enumerate(targets):
        for row in own:
            near = torch.stack([(row - other).norm() for other in rows]) if rows else torch.empty(0)
            same = (near <= _SAME * row.norm()).nonzero().flatten().tolist()
            if not same:
                rows.append(row)
                owners.append(owner)
            elif owners[same[0]] != owner and (owners[same[0]], owner) not in clashes:
                clashes.append((owners[same[0]], owner))
    return torch.stack(rows), owners, clashes


class _Solver:
    """W' = W0 + (Vᵀ − W0·Tᵀ)·(d·Tᵀ)⁻¹·d with d = T·(C + ridge·λmax·I)⁻¹ and C = KᵀK, in float64."""

    def __init__(self, kept: Tensor, targets: Tensor, ridge: float) -> None:
        self.targets = targets
        self._count, self._width = kept.shape
        covariance = kept.T @ kept
        eigenvalues = torch.linalg.eigvalsh(covariance)
        largest = float(eigenvalues[-1])
        self.independent = int((eigenvalues > _EMPTY * largest).sum())
        regular = covariance + ridge * largest * torch.eye(self._width, dtype=covariance.dtype)
        directions = torch.linalg.solve(regular, targets.T).T
        gram = directions @ targets.T
        self._projection: Tensor = torch.linalg.solve(gram, directions)
        self.dependent = len(targets) - int(torch.linalg.matrix_rank(targets))

    def merged(self, base: Tensor, outputs: Tensor) -> Tensor:
        """The new weight [out, d] that gives `outputs` [m, out] at the targets."""
        return base + (outputs.T - base @ self.targets.T) @ self._projection

    def notes(self) -> list[str]:
        notes = []
        if self._count < self._width:
            notes.append(
                f"the captions have {self._count} rows for texts {self._width} wide: "
                "give more captions, or other prompts will change more than they need to"
            )
        if self.dependent > 0:
            notes.append(f"{self.dependent} of the {len(self.targets)} target words depend on others: they contradict")
        return notes


def _own_weight(delta: Delta, name: str, base: Tensor) -> Tensor:
    """A concept's weight on the base: the base's own where the delta leaves it alone."""
    change = delta.weights.get(name)
    return base.float() if change is None else change.applied(base.float())


def _check(deltas: Sequence[Delta], tokens: Sequence[ModifierToken], captions: Sequence[str]) -> None:
    if len(deltas) < 2:
        raise DeltaError("a merge takes two deltas or more")
    for index, delta in enumerate(deltas, 1):
        if not delta.tokens:
            raise DeltaError(f"delta {index} has no token: it cannot be told from the others in a prompt")
    nameless = [token.name for token in tokens if not token.class_word]
    if nameless:
        raise DeltaError(f"no class word is known for {listed(nameless)}: say what each is, such as cat")
    if not captions:
        raise DeltaError("a merge needs captions whose meaning stays as it is: give a text file with one per line")


def _notes(deltas: Sequence[Delta], clashes: Sequence[tuple[int, int]]) -> list[str]:
    words = [token.class_word for delta in deltas for token in delta.tokens]
    twice = sorted({word for word in words if word and words.count(word) > 1})
    notes = [f'two concepts are "{shown(word, 40)}": one of them may vanish' for word in twice]
    notes += [
        f"deltas {one + 1} and {two + 1} share target words: delta {one + 1} decides them" for one, two in clashes
    ]
    if any(delta.is_whole_attention for delta in deltas):
        notes.append("changes of queries and outputs are left out: only keys and values are merged")
    return notes
