"""`python -m tools.demo` runs to its end and says what it measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from cones2.concepts.residual_file import load_residual

ROOT = Path(__file__).parents[2]


def test_the_demo_learns_paints_samples_and_counts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo", "--out", str(tmp_path), "--count", "6"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\S.*?)\s+(\d+)%\s+(\d+)%$", done.stdout, re.MULTILINE)
    titles = ["the words alone", "with residuals", "residuals and layout", "regions exchanged"]
    assert [row[0] for row in rows] == titles
    in_region = {title: int(share) for title, share, _ in rows}
    own_colors = {title: int(share) for title, _, share in rows}
    assert in_region["residuals and layout"] >= 90 and in_region["regions exchanged"] >= 90
    assert in_region["with residuals"] < 80
    assert in_region["regions exchanged"] > in_region["with residuals"] + 20
    assert own_colors["residuals and layout"] > own_colors["the words alone"]
    for name, word in (("purple_yellow_mug", "mug"), ("blue_white_dog", "dog")):
        learned = load_residual(tmp_path / f"{name}.safetensors")
        assert (learned.subject, learned.width) == (word, 128)
        assert float(learned.tensor.norm()) > 0.1
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 900 and picture.height > 900
    assert (tmp_path / "layout.png").is_file()
