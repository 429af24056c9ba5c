"""Shapes as cells: the vectors that the painter's JavaScript is held to as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cones2.layout.document import parse_document
from cones2.layout.raster import region_mask

VECTORS = json.loads((Path(__file__).parents[2] / "web" / "vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_shapes_cover_the_cells_of_the_vectors(vector: dict[str, Any]) -> None:
    document = parse_document(json.dumps({"subjects": [{"name": "dog", "shapes": vector["shapes"]}]}))
    mask = region_mask(document.subjects[0].shapes, vector["height"], vector["width"])
    assert ["".join(".#"[cell] for cell in row) for row in mask.astype(int)] == vector["mask"]
