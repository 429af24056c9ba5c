"""The arm that reads subjects' photos with an image adapter, and two subjects of one class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cones2.cli import main
from cones2.errors import ConfigError
from cones2.evaluation.arms import parse_arm
from cones2.evaluation.drawing import Material, draw, layout_of, residuals_of, scene_of
from cones2.evaluation.toyworld.judging import verdicts
from cones2.evaluation.toyworld.suites import toy_suite
from cones2.evaluation.toyworld.world import CUSTOM, SIZE, Scene, Thing, render
from tests.support.picture_adapters import adapter_weights, write_image_encoder

pytest.importorskip("diffusers")

from cones2.evaluation.toyworld.bench import AdapterPaths, open_bench, weights_digest

WIDTHS = [64, 128, 128, 128, 64, 64, 128]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> AdapterPaths:
    folder = tmp_path_factory.mktemp("adapter")
    weights = adapter_weights(WIDTHS, 128)
    flat = {f"{part}.{name}": tensor for part, held in weights.items() for name, tensor in held.items()}
    save_file(flat, folder / "adapter.safetensors")
    return AdapterPaths(folder / "adapter.safetensors", write_image_encoder(folder / "encoder"))


@pytest.fixture(scope="module")
def material(paths: AdapterPaths) -> Material:
    return open_bench(adapter=paths).material


def test_pictures_change_what_is_drawn_and_so_does_their_scale(material: Material) -> None:
    cases = toy_suite(2, "boxes", 1, 3).cases
    arms = ("nothing,steps=2", "pictures,steps=2", "pictures,steps=2,scale=0.3", "pictures,steps=2,scale=0")
    plain, first, weaker, none = (draw(material, parse_arm(arm), cases) for arm in arms)
    assert first.shape == (1, 3, SIZE, SIZE)
    assert not torch.equal(first, plain) and not torch.equal(first, weaker) and torch.equal(none, plain)


def test_each_picture_has_its_own_references(material: Material) -> None:
    cases = toy_suite(1, "boxes", 2, 3).cases
    both = draw(material, parse_arm("pictures,steps=2"), cases)
    for index, case in enumerate(cases):
        assert torch.equal(draw(material, parse_arm("pictures,steps=2"), [case])[0], both[index])


def test_a_layout_places_pictures_and_words(material: Material) -> None:
    case = toy_suite(2, "boxes", 1, 3).cases[0]
    scene = scene_of(material, parse_arm("pictures,placing=layout"), case)
    assert scene.terms and scene.references is not None and scene.references.shares is not None
    free = scene_of(material, parse_arm("pictures"), case)
    assert not free.terms and free.references is not None and free.references.shares is None


def test_an_arm_of_pictures_needs_an_adapter_and_no_peer() -> None:
    with pytest.raises(ConfigError, match="needs an image adapter: give --adapter"):
        draw(open_bench().material, parse_arm("pictures,steps=1"), toy_suite(1, "boxes", 1, 3).cases)
    with pytest.raises(ConfigError, match="placing=none and placing=layout"):
        parse_arm("area,looks=pictures")


def test_another_adapter_is_another_run(paths: AdapterPaths) -> None:
    assert weights_digest() != weights_digest(adapter=paths)


def test_twins_are_two_looks_of_one_class_named_apart(material: Material) -> None:
    case = toy_suite(2, "twins", 5, 1).cases[0]
    one, other = case.subjects
    assert one.word == other.word and one.name != other.name and case.prompt.count(one.word) == 2
    assert list(layout_of(case).subjects) == [f"{one.word}#1", f"{one.word}#2"]
    placed = residuals_of(material, parse_arm("both"), case)
    assert [str(residual.reference) for residual in placed.values()] == [f"{one.word}#1", f"{one.word}#2"]
    scene = scene_of(material, parse_arm("pictures,placing=layout"), case)
    assert scene.references is not None and scene.references.shares is not None
    assert all(scene.references.shares.placed)


def test_twins_are_two_and_no_peer_draws_them(material: Material) -> None:
    with pytest.raises(ConfigError, match="two subjects of one class, not 3"):
        toy_suite(3, "twins", 1, 1)
    with pytest.raises(ConfigError, match="cannot draw two subjects of one class"):
        draw(material, parse_arm("area"), toy_suite(2, "twins", 1, 1).cases)


@pytest.mark.parametrize("mixed", [False, True])
def test_each_twin_is_judged_where_it_belongs(mixed: bool) -> None:
    case = toy_suite(2, "twins", 1, 1).cases[0]
    names = [subject.name for subject in case.subjects]
    shown = names[::-1] if mixed else names
    centers = [(subject.place.nonzero().float().mean(0) + 0.5).tolist() for subject in case.subjects]
    things = tuple(Thing(CUSTOM[name], x, y, 24, 0) for name, (y, x) in zip(shown, centers, strict=True))
    pictures, _ = render([Scene("snow", 0.4, 0.0, things)])
    (verdict,) = verdicts(open_bench().detector, pictures, [case])
    assert verdict.all_in_place
    assert all(one.own for one in verdict.subjects) == (not mixed)


def test_the_command_draws_and_reports_them(paths: AdapterPaths, tmp_path: Path) -> None:
    asked = ["--n", "1", "--shapes", "twins", "--arms", "pictures,steps=1", "pictures,steps=1,placing=layout"]
    adapter = ["--adapter", str(paths.weights), "--image-encoder", str(paths.image_encoder)]
    assert main(["evaluate", "toyworld", *asked, *adapter, "--out", str(tmp_path), "--processes", "1"]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "## 2_twins" in report and "| pictures,steps=1,placing=layout | 1 | 4 |" in report


def test_adapter_and_encoder_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "toyworld", "--adapter", "a.safetensors"]) == 1
    assert "--adapter and --image-encoder belong together" in capsys.readouterr().err
