"""`sample --preset`: what the flags are when they are not given."""

from __future__ import annotations

from pathlib import Path

import pytest

from cones2.cli import build_parser
from cones2.cli.sample import sample_options
from cones2.cli.sampling_run import SampleOptions
from cones2.guidance.weight_maps import DEFAULT_OUTSIDE_WEIGHT
from cones2.presets import PRESETS, Preset
from cones2.rules import GuidanceSettings

OTHER = Preset(GuidanceSettings(0.5, -3.0, "others"), guided=0.25, recurrence=False)


@pytest.fixture(autouse=True)
def preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "recommended", OTHER)


def options(*flags: str) -> SampleOptions:
    parsed = build_parser().parse_args(["sample", "--model", "m", "--prompt", "a dog", "--steps", "20", *flags])
    return sample_options(parsed)


def numbers(found: SampleOptions) -> tuple[object, ...]:
    return found.guidance_weight, found.outside_weight, found.outside_mode, found.guided_steps, found.recurrence


def test_without_a_preset_everything_is_as_it_was() -> None:
    assert numbers(options()) == (None, None, "outside", None, True)
    assert numbers(options("--no-recurrence")) == (None, None, "outside", None, False)


def test_a_preset_gives_all_its_numbers() -> None:
    assert numbers(options("--preset", "recommended")) == (0.5, -3.0, "others", 5, False)
    assert numbers(options("--preset", "published")) == (0.08, DEFAULT_OUTSIDE_WEIGHT, "outside", 20, True)


def test_a_flag_that_is_given_wins() -> None:
    given = ("--guidance-weight=0", "--weight-negative=0", "--negative-mode=outside", "--guidance-steps=0")
    assert numbers(options("--preset", "recommended", *given, "--recurrence")) == (0.0, 0.0, "outside", 0, True)


def test_an_unknown_preset_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--preset", "best")
    assert 'argument --preset: "best" is unknown: write published or recommended or crowded' in capsys.readouterr().err


def test_a_preset_takes_the_place_of_a_config_s_numbers(tmp_path: Path) -> None:
    from cones2.cli.sampling_run import _jobs

    path = tmp_path / "config.json"
    path.write_text('[{"prompt": "a dog", "guidance_weight": 0.1, "weight_negative": -5, "guidance_steps": 7}]')
    (job,) = _jobs(options("--config", str(path), "--preset", "recommended"))
    assert (job.guidance, job.guided_steps) == (OTHER.guidance, 5)
    (job,) = _jobs(options("--config", str(path)))
    assert (job.guidance.guidance_weight, job.guided_steps) == (0.1, 7)
