"""`cones2 delta` and `--delta`: files in, files and one sentence out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cones2.assets import TOYWORLD
from cones2.cli import build_parser, main, sampling_run
from cones2.cli.sample import sample_options
from cones2.custom_diffusion.base import load_base_weights
from cones2.custom_diffusion.delta import ModifierToken, make_delta, whole_weights
from cones2.custom_diffusion.files import load_delta, save_delta
from cones2.custom_diffusion.layers import is_key_or_value
from tests.support.deltas import write_formats

BASE = load_base_weights(TOYWORLD)


def demo_delta(folder: Path, name: str, seed: int, word: str) -> Path:
    """A delta for the demo model, with a token <new1>."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        key: weight.float() + 0.1 * torch.randn(weight.shape, generator=generator)
        for key, weight in BASE.weights.items()
        if is_key_or_value(key)
    }
    token = ModifierToken("<new1>", (0.1 * torch.randn(128, generator=generator),), word)
    return save_delta(make_delta(whole_weights(weights), [token], {}, BASE.layers_per_block), folder / name)


def test_inspect_says_what_files_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_formats(tmp_path)
    assert main(["delta", "inspect", *map(str, paths.values())]) == 0
    shown = capsys.readouterr()
    assert "low rank" in shown.out and "compvis (torch.save)" in shown.out and "a token alone" in shown.err


def test_inspect_of_a_broken_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "delta.bin").write_bytes(b"PK nothing")
    assert main(["delta", "inspect", str(tmp_path / "delta.bin")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_convert_renames_tokens_and_says_class_words(tmp_path: Path) -> None:
    source = write_formats(tmp_path)["delta.bin"]
    out = tmp_path / "cat.safetensors"
    assert main(["delta", "convert", str(source), str(out), "--name", "<mycat>", "--class-word", "cat"]) == 0
    (token,) = load_delta(out).tokens
    assert (token.name, token.class_word) == ("<mycat>", "cat")


def test_convert_to_a_lora_needs_the_base_and_is_exact_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = demo_delta(tmp_path, "a", 1, "dog")
    assert main(["delta", "convert", str(source), str(tmp_path / "lora"), "--to", "lora"]) == 1
    assert "--base" in capsys.readouterr().err
    assert main(["delta", "convert", str(source), str(tmp_path / "lora"), "--to", "lora", "--base", "demo"]) == 0
    lora, delta = load_file(tmp_path / "lora.safetensors"), load_delta(source)
    name = next(iter(delta.weights))
    layer = "lora_unet_" + name.rpartition(".")[0].replace(".", "_")
    product = lora[f"{layer}.lora_up.weight"] @ lora[f"{layer}.lora_down.weight"]
    assert torch.allclose(product, delta.weights[name].difference(BASE.weights[name]), atol=1e-5)


def test_compressed_files_are_smaller_and_go_back_to_whole_weights(tmp_path: Path) -> None:
    source, small = demo_delta(tmp_path, "a", 1, "dog"), tmp_path / "small.safetensors"
    assert main(["delta", "compress", str(source), str(small), "--base", "demo", "--ratio", "0.3"]) == 0
    assert small.stat().st_size < source.stat().st_size / 2
    back = ["delta", "convert", str(small), str(tmp_path / "b.bin"), "--to", "repository", "--base", "demo"]
    assert main([*back, "--store", "whole"]) == 0
    assert load_delta(tmp_path / "b.bin").stored == "whole weights"


def test_merge_keeps_two_tokens_and_prints_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(demo_delta(tmp_path, name, seed, word)) for name, seed, word in (("a", 1, "dog"), ("b", 2, "mug"))]
    assert main(["delta", "merge", *paths, "--model", "demo", "--out", str(tmp_path / "both")]) == 0
    assert "constraint error" in capsys.readouterr().out
    tokens = load_delta(tmp_path / "both.safetensors").tokens
    assert [(token.name, token.class_word) for token in tokens] == [("<new1>", "dog"), ("<new2>", "mug")]


def test_sample_takes_deltas_and_renames_the_second_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(demo_delta(tmp_path, name, seed, word)) for name, seed, word in (("a", 1, "dog"), ("b", 2, "mug"))]
    argv = ["sample", "--model", "demo", "--prompt", "a <new1> dog and a <new2> mug", "--steps", "1"]
    argv += ["--delta", paths[0], "--delta", f"{paths[1]}@0.5", "--region", "<new2> mug=0.5,0.2,0.4,0.6"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert "its token <new1> is called <new2> here" in capsys.readouterr().out
    assert (tmp_path / "out" / "picture_seed0.png").is_file()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--delta", "absent.bin"], "there is no"),
        (["--delta", "a.bin@99"], "-10 to 10"),
    ],
)
def test_a_wrong_delta_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str
) -> None:
    base = ["sample", "--model", "demo", "--prompt", "a dog", "--out", str(tmp_path)]
    assert main([*base, *argv]) == 1
    assert sentence in capsys.readouterr().err


def test_two_of_one_kind_act_in_their_own_regions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (str(demo_delta(tmp_path, name, seed, "dog")) for name, seed in (("a", 1), ("b", 2)))
    argv = ["sample", "--model", "demo", "--prompt", "a <new1> dog and a <new2> dog", "--steps", "1"]
    argv += ["--region-delta", f"<new1> dog={one}", "--region-delta", f"<new2> dog={two}@0.8"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 1
    assert '"<new1> dog" has no region' in capsys.readouterr().err
    argv += ["--region", "<new1> dog=0,0.2,0.4,0.6", "--region", "<new2> dog=0.5,0.2,0.4,0.6"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "picture_seed0.png").is_file()


def test_a_delta_in_a_region_differs_from_the_base_whatever_acts_everywhere(tmp_path: Path) -> None:
    file = str(demo_delta(tmp_path, "a", 1, "dog"))
    flags = ["sample", "--model", "demo", "--prompt", "a <new1> dog", "--region-delta", f"<new1> dog={file}"]
    alone, beside = (
        sampling_run._load(sample_options(build_parser().parse_args([*flags, *more]))).regional[0].layers
        for more in ([], ["--delta", file])
    )
    for name, own in alone.items():
        for one, other in zip(own, beside[name], strict=True):
            assert one is other is None or torch.equal(one, other)


def test_a_region_delta_without_a_phrase_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sample", "--model", "demo", "--prompt", "a dog", "--region-delta", "dog.bin"]
    assert main(argv) == 1
    assert "names no subject" in capsys.readouterr().err
