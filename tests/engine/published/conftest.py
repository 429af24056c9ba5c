"""What the tests of published configs share."""

from pathlib import Path

import pytest

from tests.support.guidance_configs import config_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config folder in which the files of `subject_list` and the layout exist."""
    return config_folder(tmp_path)
