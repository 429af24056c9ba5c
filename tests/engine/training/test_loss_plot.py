"""The loss curve as a picture."""

from __future__ import annotations

import numpy as np

from cones2.training.loss_plot import loss_curve


def test_loss_curve_draws_what_happened():
    falling = [{"step": float(step), "error": 1.0 / step} for step in range(1, 200)]
    validated = [{**record, "held_out": 0.5} if record["step"] % 50 == 0 else record for record in falling]
    blank, plain, both = (np.asarray(loss_curve(history)) for history in ([], falling, validated))
    assert blank.shape == (540, 960, 3)
    red = np.array([0xD1, 0x49, 0x5B])
    held_out = (both == red).all(-1)[:, :700].sum() - (plain == red).all(-1)[:, :700].sum()
    assert held_out > 100
    assert (plain != blank).any()
    assert loss_curve([{"step": 1.0, "error": 0.0}]).size == (960, 540)
