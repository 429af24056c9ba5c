"""Whatever a damaged or hostile file holds, it is one sentence or a delta, and nothing of it is executed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cones2.custom_diffusion.delta import Delta
from cones2.custom_diffusion.files import export_delta, load_delta
from cones2.errors import MESSAGE_LIMIT, DeltaError
from tests.support import deltas
from tests.support.deltas import write_formats

MUTATIONS = 100  # of each of the files


def mutated(content: bytes, seed: int) -> bytes:
    """The file cut, with bytes flipped, parts doubled, moved or replaced by numbers of another size."""
    draw, damaged = random.Random(seed), bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(damaged)) if damaged else 0
        match draw.randrange(5):
            case 0:
                damaged[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                del damaged[place : place + draw.randint(1, 64)]
            case 2:
                damaged[place:place] = damaged[place : place + draw.randint(1, 64)]
            case 3:
                damaged[place : place + 4] = draw.randrange(2**32).to_bytes(4, "little")
            case _:
                del damaged[place:]
    return bytes(damaged)


@pytest.mark.parametrize("name", ["delta.bin", "delta_epoch=000004.ckpt", "compressed_delta.bin", "sdxl.bin", "own"])
def test_mutated_files_are_one_sentence_each(tmp_path: Path, name: str) -> None:
    paths = write_formats(tmp_path) | {"own": export_delta(deltas.delta(), tmp_path / "own", "cones2")[0]}
    content, damaged = paths[name].read_bytes(), tmp_path / f"damaged{paths[name].suffix}"
    refused = 0
    for seed in range(MUTATIONS):
        damaged.write_bytes(mutated(content, seed))
        try:
            assert isinstance(load_delta(damaged), Delta)
        except DeltaError as error:
            refused += 1
            assert len(str(error)) <= MESSAGE_LIMIT and str(error).isprintable()
    assert refused > MUTATIONS // 2
