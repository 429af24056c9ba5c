"""The committed reference cases pass, and the runner fails on a case that is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.parity import run as parity
from tests.parity.maps import keyed_grid, published_grid
from tests.parity.models import RecordedTokenizer, ReferenceModels, dequantized
from tests.parity.references import ParityError, References, content_ids
from tests.parity.report import Figure, NotApplicable, Outcome, difference

GOLDENS = Path(__file__).parents[1] / "goldens"
REFERENCES = References([GOLDENS])
CASES = REFERENCES.cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_committed_case_equals_published_computation(case):
    outcome = parity.run_case(case, REFERENCES, ReferenceModels(REFERENCES))
    assert isinstance(outcome, Outcome)
    assert outcome.ok, outcome.line()


def test_all_committed_cases_are_seen():
    assert {case.kind for case in CASES} == {"G1", "G2"}
    assert len(CASES) >= 15


def copied(tmp_path: Path, name: str) -> Path:
    """A folder with one committed case, ready to be damaged."""
    folder = tmp_path / name[:2]
    folder.mkdir(parents=True)
    for path in sorted((GOLDENS / name[:2]).glob(f"{name}.*")):
        shutil.copy(path, folder)
    return folder / f"{name}.json"


@pytest.mark.parametrize(
    ("name", "key", "change"),
    [
        ("G1_example_soft", "CA_WEIGHT_144", 1e-4),
        ("G1_synth0", "CA_WEIGHT_576", 100.0),
        ("G1_example", "effective_1024", 100.0),
        ("G2_soft_144_s14.6", "output", 1e-4),
        ("G2_soft_144_s14.6", "additive_columns", 1e-2),
        ("G2_plain_144", "output", 1e-4),
    ],
)
def test_changed_values_fail(tmp_path, capsys, name, key, change):
    path = copied(tmp_path, name).with_suffix(".safetensors")
    tensors = load_file(path)
    tensors[key].view(-1)[5] += change
    save_file(tensors, path)
    assert parity.main([str(tmp_path), "--models", str(GOLDENS)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed
    assert printed.endswith("0 passed, 1 failed\n")


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("G1_synth0", ("subjects", 0, "match_start_positions"), [2]),
        ("G1_synth0", ("subjects", 0, "region_pixels"), 100199),
        ("G1_synth0", ("keys", "CA_WEIGHT_ORIG", "sha256_of_nonzero_columns"), "0" * 64),
        ("G1_synth0", ("keys", "CA_WEIGHT_144", "nonzero_columns"), [2, 5, 6, 9, 11]),
        ("G1_example_soft", ("weight_negative",), -2.1),
        ("G2_example_576_s4.9", ("guidance_weight",), 0.081),
        ("G2_soft_batch2_144_s3", ("raw_scores_std",), 4.6684),
        ("G2_uncond_144", ("mode",), "sideways"),
    ],
)
def test_changed_parameters_fail(tmp_path, capsys, name, path, value):
    file = copied(tmp_path, name)
    data = json.loads(file.read_text())
    entry = data
    for step in path[:-1]:
        entry = entry[step]
    entry[path[-1]] = value
    file.write_text(json.dumps(data))
    assert parity.main([str(tmp_path), "--models", str(GOLDENS)]) == 1
    assert "0 passed, 1 failed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["G1_synth0", "G1_example", "G2_plain_144"])
def test_a_case_without_its_tensors_fails(tmp_path, capsys, name):
    path = copied(tmp_path, name).with_suffix(".safetensors")
    path.unlink()
    assert parity.main([str(tmp_path), "--models", str(GOLDENS)]) == 1
    assert f"there is no {path.name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("G1_example", "effective_256"),
        ("G2_soft_144_s14.6", "additive_columns"),
        ("G2_soft_144_s14.6", "output"),
    ],
)
def test_a_missing_tensor_fails_with_its_name(tmp_path, capsys, name, key):
    path = copied(tmp_path, name).with_suffix(".safetensors")
    tensors = load_file(path)
    del tensors[key]
    save_file(tensors, path)
    assert parity.main([str(tmp_path), "--models", str(GOLDENS)]) == 1
    assert key in capsys.readouterr().out


def test_a_sampling_case_lacking_a_listed_tensor_fails(tmp_path):
    case = sampling_case(tmp_path, prompt="a dog", tensors={"sigmas": ["float32", [7]], "timesteps": ["float64", [6]]})
    save_file({"sigmas": torch.zeros(7)}, case.path.with_suffix(".safetensors"))
    with pytest.raises(ParityError, match="lacks timesteps"):
        case.tensors  # noqa: B018


def test_missing_layout_fails_with_its_name(tmp_path, capsys):
    copied(tmp_path, "G1_example")
    assert parity.main([str(tmp_path)]) == 1
    assert "there is neither layout_example.png nor layouts/example.resized768.png" in capsys.readouterr().out


def test_folder_without_cases_fails(tmp_path, capsys):
    assert parity.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out == "0 passed, 0 failed\n"


def test_training_case_without_models_fails_and_the_others_run(tmp_path, capsys):
    copied(tmp_path, "G2_plain_144")
    (tmp_path / "G5_training.json").write_text("{}")
    assert parity.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "1 passed, 1 failed"
    assert lines[-2].startswith("G5_training:") and lines[-2].endswith("FAILED")


def test_sampling_case_without_token_ids_fails_clearly(tmp_path):
    case = sampling_case(tmp_path, prompt="a prompt that nobody tokenized")
    with pytest.raises(Exception, match="no case holds the token ids of the prompt"):
        References([tmp_path]).prompt_ids(case)


def test_token_ids_come_from_a_map_case_with_the_same_prompt(tmp_path):
    case = sampling_case(tmp_path, prompt="a mug and a dog on the beach")
    references = References([tmp_path, GOLDENS])
    tokenizer = RecordedTokenizer(case, references)
    content = [320, 9722, 537, 320, 1929, 525, 518, 2117]
    assert tokenizer(case.data["prompt"], add_special_tokens=False) == {"input_ids": content}
    assert tokenizer(case.data["prompt"], max_length=6) == {"input_ids": [49406, *content[:4], 49407]}
    assert tokenizer("mug", add_special_tokens=False) == {"input_ids": [9722]}
    assert tokenizer("", add_special_tokens=False) == {"input_ids": []}


def sampling_case(folder: Path, prompt: str, **facts):
    path = folder / "G3_case.json"
    path.write_text(json.dumps({"code": "cones2", "prompt": prompt} | facts))
    return References([folder]).cases()[0]


def test_file_names_may_start_with_public(tmp_path):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "n.safetensors").touch()
    assert References([tmp_path]).find("public/noise/n.safetensors") == tmp_path / "noise" / "n.safetensors"


# the published code at these square pictures, 768 × 768 layout: side of the map per level of the UNet
@pytest.mark.parametrize("side", [32, 40, 64, 72, 80, 88, 104, 120, 128])
def test_published_fallback_fits_most_squares(side):
    assert published_grid(side * side, 768, 768, {}) == (side, side)


@pytest.mark.parametrize(("positions", "made"), [(56 * 56, "55x55"), (28 * 28, "27x27"), (14 * 14, "13x13")])
def test_published_fallback_scrambles_448_pixels(positions, made):
    with pytest.raises(NotApplicable, match=made):
        published_grid(positions, 768, 768, {})


def test_published_keys_are_counts():
    # 72 × 128 latents have as many positions as 96 × 96
    assert published_grid(72 * 128, 768, 768, {9216: [9216, 77]}) == (96, 96)
    assert keyed_grid(9216, 3840, 384, 640) == (48, 80)


def test_nan_never_passes():
    assert not Figure("x", float("nan"), 1.0).ok
    assert not difference("x", torch.tensor([float("nan")]), torch.tensor([0.0]), 1.0).ok
    assert not difference("x", torch.zeros(2), torch.zeros(3), 1.0).ok
    assert not Outcome("case").ok


def test_content_ids_stop_at_the_first_end_token():
    special = {"bos": 1, "eos": 2, "pad": 0}
    assert content_ids([1, 5, 6, 2, 2, 2], special) == [5, 6]
    assert content_ids([1, 5, 6, 2, 0, 0], special) == [5, 6]


def test_text_encoder_weights_are_rebuilt():
    stored = {
        "a.weight": torch.tensor([[-3, 4]], dtype=torch.int8),
        "b.bias": torch.tensor([0.5], dtype=torch.float16),
        "token_embedding.A": torch.tensor([[1], [2]], dtype=torch.int8).repeat(128, 1),
        "token_embedding.B": torch.tensor([[8], [16]], dtype=torch.int8),
    }
    exponents = {"a.weight": -2, "token_embedding.A": 0, "token_embedding.B": 1}
    state = dequantized(stored, exponents, 258)
    assert state["a.weight"].tolist() == [[-0.75, 1.0]]
    table = state["text_model.embeddings.token_embedding.weight"]
    assert table[[0, 1, 256, 257]].flatten().tolist() == [17, 18, 33, 34]
