"""The check of the host's names sees what is there and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.host_names import Checkout, lacking, uses_of

HOST = {
    "folder_paths.py": "models_dir = 'models'\n",
    "comfy/samplers.py": "class Base:\n    def run(self): ...\nclass Euler(Base):\n    steps = 1\n",
    "comfy/utils.py": "try:\n    from .fast import load\nexcept ImportError:\n    def load(path): ...\n",
    "comfy/fast.py": "def load(path, *, device=None): ...\n",
    "comfy_api/latest/__init__.py": "from . import _io_public as io\nIO = io\n",
    "comfy_api/latest/_io_public.py": "from ._io import *\n",
    "comfy_api/latest/_io.py": (
        "class Schema:\n    node_id: str\n    category: str = ''\n"
        "class Combo:\n    class Input:\n        def __init__(self, id, options=None): ...\n"
        "class Open:\n    class Input:\n        def __init__(self, id, **more): ...\n"
    ),
}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for name, source in HOST.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return Checkout(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "import folder_paths\nfolder_paths.models_dir.upper().anything",
        "import comfy.samplers\ncomfy.samplers.Euler.steps\ncomfy.samplers.Euler.run",
        "from comfy import samplers as s\ns.Euler()",
        "import comfy.utils\ncomfy.utils.load('a')",
        "from comfy_api.latest import io\nio.Combo.Input('a', options=[])\nio.Schema(node_id='a', category='b')",
        "from comfy_api.latest import IO\nIO.Open.Input('a', whatever=1)",
        "import torch\ntorch.nothing",
        "from ..cones2 import nothing",
    ],
)
def test_what_is_there_is_found(checkout: Checkout, source: str) -> None:
    assert lacking(checkout, uses_of(source, "file.py")) == {}


@pytest.mark.parametrize(
    ("source", "absent"),
    [
        ("import nodes", "nodes"),
        ("import comfy.model_management", "comfy.model_management"),
        ("from comfy.samplers import Heun", "comfy.samplers.Heun"),
        ("import comfy.samplers\ncomfy.samplers.Euler.order", "comfy.samplers.Euler.order"),
        ("import folder_paths as f\nf.output_dir", "folder_paths.output_dir"),
        ("from comfy_api.latest import io\nio.Autogrow.Input('a')", "comfy_api.latest.io.Autogrow"),
        ("from comfy_api.latest import io\nio.Combo.Output('a')", "comfy_api.latest.io.Combo.Output"),
        ("from comfy_api.latest import io\nio.Combo.Input('a', tip='')", "comfy_api.latest.io.Combo.Input(tip=…)"),
        (
            "from comfy_api.latest import io\nio.Schema(search_aliases=[])",
            "comfy_api.latest.io.Schema(search_aliases=…)",
        ),
    ],
)
def test_what_is_not_there_is_named_with_its_place(checkout: Checkout, source: str, absent: str) -> None:
    line = len(source.splitlines())
    assert lacking(checkout, uses_of(source, "file.py")) == {absent: {f"file.py:{line}"}}
