"""The front door of the package, and the example in the README that goes through it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cones2
from cones2.assets import TOYWORLD

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", cones2.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(cones2, name) is not None and name in dir(cones2)


def test_what_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cones2.nothing  # noqa: B018


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, cones2; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "PIL", "diffusers", "transformers"} & set(loaded)


def test_the_example_of_the_readme_makes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    small = {
        '"MODEL_DIR", device="cuda"': repr(str(TOYWORLD)),
        '"dog.safetensors"': repr(str(next((TOYWORLD / "residuals").glob("*dog*")))),
        "seeds=(0, 1)": "seeds=(0, 1), steps=2, height=64, width=64",
    }
    for text, replacement in small.items():
        assert text in example
        example = example.replace(text, replacement)
    monkeypatch.chdir(tmp_path)
    exec(example, {})  # noqa: S102
    assert (tmp_path / "picture.png").stat().st_size > 1000
