"""From photos to a residual."""

from __future__ import annotations

import hashlib

import pytest

from cones2.concepts.fingerprint import from_other_encoder
from cones2.concepts.residual_file import load_residual, save_residual
from cones2.errors import ModelError
from cones2.training import session
from cones2.training.config import delta_config, recipe_config
from cones2.training.session import prepare_run, result_residual
from cones2.training.views import ViewSettings
from tests.support.tiny_training import photo, quick_config, tiny_model, trainer


def test_prepare_run_checks_the_memory(monkeypatch):
    monkeypatch.setattr(session, "check_memory", lambda *_: (_ for _ in ()).throw(ModelError("too large")))
    with pytest.raises(ModelError, match="too large"):
        prepare_run(tiny_model(), [photo()], ViewSettings(64), quick_config())


@pytest.mark.parametrize("name", ["sd\udcff.safetensors", "x" * 9000])
def test_any_name_of_a_model_can_be_saved(tmp_path, name):
    run = trainer(quick_config(steps=1))
    residual = result_residual(run, run.run(), [photo()], name)
    base_model = load_residual(save_residual(residual, tmp_path / "dog")).metadata["base_model"]
    assert base_model[:2] == name[:2] and len(base_model) <= 200


def test_the_residual_says_how_it_was_made(tmp_path):
    config = quick_config("paper", "hot dog", steps=3)
    run = trainer(config)
    residual = result_residual(run, run.run(), [photo()] * 5, "tiny", {"resolution": "64"})
    assert from_other_encoder(residual, run.method.frozen.embeds) is False
    assert from_other_encoder(residual, run.method.frozen.embeds + 1) is True
    loaded = load_residual(save_residual(residual, tmp_path / "hot_dog"))
    assert loaded.subject == "hot dog" and loaded.token_num == 2
    facts = {name: loaded.metadata[name] for name in ("method", "steps", "photos", "base_model", "stopped")}
    assert facts == {"method": "paper", "steps": "3", "photos": "5", "base_model": "tiny", "stopped": "finished"}


def test_fields_of_other_methods_do_not_rename_a_run():
    """The digest is recorded: the runs of earlier versions are found by it."""
    numbers = recipe_config("scenes", "dog").own_numbers()
    assert hashlib.blake2b(repr(sorted(numbers.items())).encode(), digest_size=8).hexdigest() == "b6d3d2cbac53d1c6"
    own = delta_config("dog").own_numbers()
    assert "augment" in own and "drop" not in own and "drop" in delta_config("dog", drop=0.1).own_numbers()
