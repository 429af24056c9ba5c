"""G1: weight maps of the published layout code against the engine's under the published rules."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cones2.guidance.weight_maps import WeightMaps
from cones2.layout.colors import parse_color
from cones2.layout.painted import ColorEntry
from cones2.layout.regions import Layout
from cones2.published.rules import Cones2Rules, match_positions, summed_maps
from tests.parity.references import Case, ParityError, References, map_shapes
from tests.parity.report import Figure, NotApplicable, Outcome, difference, mismatches

ROUNDING = 32e-8  # 32 at weights of 1e8: four units in the last place of float32
MILD = 1e-6
_REFERENCE_PIXELS = 768 * 768  # the published keys count positions as if the layout had this size


def run_maps(case: Case, references: References) -> Outcome:
    """Compare token matches, full-size maps, keyed maps and effective maps of one G1 case."""
    outcome = Outcome(case.name)
    picture = references.layout(case)
    if picture is None:
        raise ParityError(f"{case.name} has no layout")
    if not case.data["keys"]:
        raise ParityError(f"{case.name} lists no maps")
    table = [
        ColorEntry(parse_color(color), phrase, float(weight))
        for color, (phrase, weight) in case.data["color_context"].items()
    ]
    layout = Cones2Rules().read_layout(picture, table, tolerance=0)
    phrases = [references.phrase_ids(case, subject) for subject in layout.subjects]
    ids = case.data.get("token_ids") or references.prompt_ids(case)
    maps = summed_maps(layout, phrases, ids, case.data["weight_negative"])
    outcome.figures += _subject_figures(case.data, layout, phrases, ids)
    for key, entry in case.data["keys"].items():
        if key == "CA_WEIGHT_ORIG":
            _compare_full_size(outcome, case, entry, maps, references)
        else:
            _compare_keyed(outcome, case, key, entry, maps, (picture.height, picture.width))
    for count, entry in case.data.get("effective_weight_by_image_positions", {}).items():
        _compare_effective(outcome, case, int(count), entry, maps, (picture.height, picture.width))
    return outcome


def published_grid(positions: int, height: int, width: int, keyed: dict[int, list[int]]) -> tuple[int, int]:
    """The grid of the map that the published code hands to a layer with `positions` image positions.

    A key with that count wins; else the full-size map is scaled by 1/√(H·W/N) and floored, in
    double precision. Raises NotApplicable when the result has another number of cells: the map is
    then stretched row by row over the wrong geometry, or the code fails.
    """
    if positions in keyed:
        grid = keyed_grid(positions, keyed[positions][0], height, width)
    else:
        factor = 1.0 / math.sqrt(height * width / positions)
        grid = math.floor(height * factor), math.floor(width * factor)
    if math.prod(grid) != positions:
        raise NotApplicable(
            f"the published code scrambles it: {grid[0]}x{grid[1]} cells are spread over {positions} positions"
        )
    return grid


def keyed_grid(key: int, cells: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the map called CA_WEIGHT_<key>, which has `cells` cells on a layout of height × width."""
    factor = math.sqrt(_REFERENCE_PIXELS / key)
    grid = math.floor(height / factor), math.floor(width / factor)
    if math.prod(grid) == cells:
        return grid
    pairs = [(h, cells // h) for h in range(1, cells + 1) if cells % h == 0]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] * width / (pair[1] * height))))


def compare_columns(name: str, ours: Tensor, stored: Tensor) -> list[Figure]:
    """Values within float32 rounding of the largest weight, and the same sign in every cell."""
    tolerance = max(MILD, ROUNDING * float(stored.abs().max()) if stored.numel() else 0.0)
    value = difference(name, ours, stored, tolerance)
    if ours.shape != stored.shape:
        return [value]
    wrong = int(((ours > 0) != (stored > 0)).sum())
    return [value, Figure(f"sign of {name} (cells)", float(wrong), 0.0)]


def columns_at(maps: WeightMaps, grid: tuple[int, int], columns: list[int]) -> tuple[Tensor, float]:
    """Map values in the given token columns [cells, columns], and the largest |value| in any other."""
    values = maps.at(*grid)
    zero = values.new_zeros(values.shape[0])
    picked = [
        values[:, maps.token_indices.index(column)] if column in maps.token_indices else zero for column in columns
    ]
    others = [index for index, row in enumerate(maps.token_indices) if row not in columns]
    elsewhere = float(values[:, others].abs().max()) if others else 0.0
    return torch.stack(picked, -1) if picked else values.new_zeros(values.shape[0], 0), elsewhere


def _subject_figures(data: dict[str, Any], layout: Layout, phrases: list[list[int]], ids: list[int]) -> list[Figure]:
    stored = {(entry["color"], entry["subject"]): entry for entry in data.get("subjects", ())}
    figures = []
    for color, phrase, region in zip(data["color_context"], phrases, layout.regions, strict=True):
        entry = stored.get((color, region.subject), {})
        if "match_start_positions" in entry:
            starts = match_positions(ids, phrase)
            figures.append(mismatches(f"matches of {region.subject}", starts, entry["match_start_positions"]))
        if "region_pixels" in entry:
            error = abs(int(region.mask.sum()) - entry["region_pixels"])
            figures.append(Figure(f"pixels of {region.subject}", float(error), 0.0))
    return figures


def _compare_full_size(
    outcome: Outcome, case: Case, entry: dict[str, Any], maps: WeightMaps, references: References
) -> None:
    height, width = entry["shape"][:2]
    ours, elsewhere = columns_at(maps, (height, width), entry["nonzero_columns"])
    outcome.figures.append(Figure("full-size map, other columns", elsewhere, 0.0))
    if digest := entry.get("sha256_of_nonzero_columns"):
        same = hashlib.sha256(ours.contiguous().numpy().astype("<f4").tobytes()).hexdigest() == digest
        outcome.figures.append(Figure("full-size map, sha256", float(not same), 0.0))
    for column, picture in entry.get("png", {}).items():
        try:
            path = references.find(picture["file"], case.path.parent)
        except ParityError:
            if not digest:
                raise
            continue  # the same map as another case's, covered by its sha256
        with Image.open(path) as image:
            stored = torch.tensor(picture["values"])[torch.from_numpy(np.asarray(image).astype(np.int64))]
        index = entry["nonzero_columns"].index(int(column))
        outcome.figures += compare_columns(f"full-size map, column {column}", ours[:, index], stored.flatten())


def _compare_keyed(
    outcome: Outcome, case: Case, key: str, entry: dict[str, Any], maps: WeightMaps, layout: tuple[int, int]
) -> None:
    number, cells = int(key.rpartition("_")[2]), int(entry["shape"][0])
    ours, elsewhere = columns_at(maps, keyed_grid(number, cells, *layout), entry["nonzero_columns"])
    outcome.figures.append(Figure(f"{key}, other columns", elsewhere, 0.0))
    if key in case.tensors:
        outcome.figures += compare_columns(key, ours, case.tensors[key])
        return
    digest = hashlib.sha256(ours.contiguous().numpy().astype("<f4").tobytes()).hexdigest()
    if digest == entry.get("sha256_of_nonzero_columns"):
        outcome.figures.append(Figure(f"{key}, sha256", 0.0, 0.0))
    else:
        # only exact equality could be seen, while rounding is allowed
        outcome.notes.append(f"{key}: not compared (no values stored, and its sha256 differs by rounding at least)")


def _compare_effective(
    outcome: Outcome, case: Case, positions: int, entry: dict[str, Any], maps: WeightMaps, layout: tuple[int, int]
) -> None:
    key = f"effective_{positions}"
    try:
        grid = published_grid(positions, *layout, map_shapes(case.data))
    except NotApplicable as reason:
        outcome.notes.append(f"{key}: not applicable ({reason})")
        return
    if "error" in entry:
        outcome.notes.append(f"{key}: not applicable (the published code failed: {entry['error']})")
        return
    if key not in case.tensors:
        raise ParityError(f"{case.name} lists {key} but does not hold it")
    ours, elsewhere = columns_at(maps, grid, entry["nonzero_columns"])
    outcome.figures.append(Figure(f"{key}, other columns", elsewhere, 0.0))
    outcome.figures += compare_columns(key, ours, case.tensors[key])
