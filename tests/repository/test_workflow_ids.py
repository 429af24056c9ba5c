"""The pack's workflows keep their ids, by which the host tells their versions from other workflows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.host.client.workflows import EARLIER, WORKFLOWS
from tools.workflows.build import tidy


@pytest.mark.parametrize("path", [*WORKFLOWS, *EARLIER], ids=lambda path: path.stem)
def test_a_workflow_built_again_keeps_its_id(path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    assert tidy({**workflow, "nodes": []}, path.stem)["id"] == workflow["id"]
