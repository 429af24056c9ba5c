"""Layout guidance on the real host: what the patched model computes."""

import pytest
from hostlink.worker import HostWorker

TOLERANCE = 1e-4
MODELS = ("sd15_short", "sd21_short", "sd21_v_short", "sdxl_short")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("text_tokens", "cfg", "batch", "height", "width"),
    [(7, 7.5, 1, 12, 16), (30, 1.0, 3, 16, 16), (90, 7.5, 1, 12, 20), (200, 7.5, 1, 16, 12)],
)
def test_guided_forward_is_the_published_formula(
    in_host: HostWorker, name: str, text_tokens: int, cfg: float, batch: int, height: int, width: int
) -> None:
    found = in_host(
        "nodes_guidance.py", "formula", needs=(name,),
        name=name, text_tokens=text_tokens, cfg=cfg, batch=batch, height=height, width=width,
    )  # fmt: skip
    assert found["rows"] == 77 * -(-text_tokens // 75)
    assert found["calls"] == 1
    assert found["error"] < TOLERANCE
    assert found["effect"] > 20 * TOLERANCE
