"""A folder model with random weights, and commands that read it once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.load_once import load_once
from tests.support.sd2_model import write_sd2_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd2_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def load_each_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("sampling_run", "training_run"):
        monkeypatch.setattr(f"cones2.cli.{command}.load_model", load_once)
