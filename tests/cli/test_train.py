"""`cones2 train` and `cones2 train-all`, on a folder model with random weights."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cones2.cli import main
from cones2.concepts.residual_file import load_residual
from cones2.errors import ConfigError
from tests.support.killed import kill_when
from tests.support.sd2_model import WIDTH

pytestmark = pytest.mark.usefixtures("load_each_model_once")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def train(model, photos, out, *flags):
    quick = ["--resolution", "64", "--steps", "4", "--batch-size", "2", "--held-out", "4", "--evaluate-every", "2"]
    base = ["train", "--model", str(model), "--images", str(photos), "--subject", "dog", "--out", str(out)]
    recipe = [] if "--method" in flags or "--recipe" in flags else ["--recipe", "photos"]
    return main([*base, *quick, *recipe, *flags])


def losses(out, name="dog"):
    with (out / f"{name}.csv").open() as stream:
        return [row["loss"] for row in csv.DictReader(stream)]


@pytest.mark.parametrize("method", ["direct", "paper"])
def test_train_writes_residual_table_and_curve(model, photos, tmp_path, capsys, method):
    out = tmp_path / "out"
    assert train(model, photos, out, "--method", method) == 0
    assert sorted(path.name for path in out.iterdir()) == ["dog.csv", "dog.safetensors", "dog_loss.png"]
    residual = load_residual(out / "dog.safetensors")
    assert residual.tensor.shape == (1, WIDTH) and residual.family == "sd2" and residual.subject == "dog"
    assert residual.metadata["method"] == method and residual.metadata["resolution"] == "64"
    assert float(residual.tensor.norm()) > 0
    assert (out / "dog.safetensors").stat().st_size < 6000
    assert len(losses(out)) == 4
    assert "dog.safetensors (finished after 4 steps, held-out error" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, tolerance",
    [
        (["--dtype", "bfloat16"], 2e-2),
        (["--dtype", "float16"], 5e-3),
        (["--gradient-checkpointing"], 1e-6),
    ],
)
def test_cheaper_ways_give_nearly_the_same_losses(model, photos, tmp_path, flags, tolerance):
    reference = ["--steps", "2", "--held-out", "0", "--patience", "0"]
    assert train(model, photos, tmp_path / "plain", *reference) == 0
    assert train(model, photos, tmp_path / "cheap", *reference, *flags) == 0
    plain, cheap = (np.array(losses(tmp_path / name), dtype=float) for name in ("plain", "cheap"))
    assert cheap == pytest.approx(plain, rel=tolerance)


def test_published_flag_names_are_accepted(model, photos, tmp_path):
    flags = (
        f"--pretrained_model_name_or_path={model} --instance_data_dir={photos} --output_dir={tmp_path} --token_num=2"
    )
    flags += " --resolution=64 --train_batch_size=1 --gradient_accumulation_steps=2 --learning_rate=5e-6 --method=paper"
    flags += " --lr_scheduler=constant --lr_warmup_steps=0 --max_train_steps=1 --loss_rate_first=1e-2"
    flags += " --loss_rate_second=1e-3 --mixed_precision=no --center_crop --seed=1 --checkpointing_steps=500"
    assert main(["train", *flags.split(), "--instance_prompt=pet cat"]) == 0
    assert load_residual(tmp_path / "pet_cat.safetensors").token_num == 2


def test_an_existing_residual_is_kept_unless_told(model, photos, tmp_path, capsys):
    (tmp_path / "dog.safetensors").write_bytes(b"mine")
    assert train(model, photos, tmp_path) == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "dog.safetensors").read_bytes() == b"mine"
    assert train(model, photos, tmp_path, "--overwrite", "--steps", "1") == 0
    assert load_residual(tmp_path / "dog.safetensors").tensor.shape == (1, WIDTH)


def test_no_photos_is_an_error_before_the_model_is_loaded(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "no-model", tmp_path / "empty", tmp_path) == 1
    assert "no usable photo" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../dog", "dog\n", "con", "d" * 300, "dog\x1b[2J"])
def test_an_unusable_name_is_an_error_before_anything_is_done(photos, tmp_path, capsys, name):
    assert train(tmp_path / "no-model", photos, tmp_path / "out", "--name", name) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith('error: the name "') and line.isprintable()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("subject", ["x" * 201, "dog\x1b[2J", "\u200b"])
def test_a_subject_that_no_residual_may_have_is_an_error_before_anything_is_done(photos, tmp_path, capsys, subject):
    assert train(tmp_path / "no-model", photos, tmp_path / "out", "--subject", subject) == 1
    assert "error: the subject phrase" in capsys.readouterr().err


def test_what_cannot_be_seen_in_a_subject_is_not_learned(model, photos, tmp_path):
    assert train(model, photos, tmp_path, "--subject", "\ufeffhot\u200b dog", "--steps", "1") == 0
    assert load_residual(tmp_path / "hot_dog.safetensors").subject == "hot dog"


def test_a_folder_that_does_not_print_is_shown_escaped(model, photos, tmp_path, capsys):
    assert train(model, photos, tmp_path / "\x1b[2J", "--steps", "1") == 0
    assert r"\x1b[2J/dog.safetensors (finished" in capsys.readouterr().out


def test_previews_and_buckets_and_masks(model, photos, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.new("L", (50, 40), 255).save(masks / "0.png")
    flags = ("--preview-every", "2", "--buckets", "--flip", "--masks", str(masks), "--preservation", "0.1")
    assert train(model, photos, tmp_path / "out", *flags) == 0
    with Image.open(tmp_path / "out" / "dog_preview_000002.png") as picture:
        assert picture.size == (128, 128)
    assert (tmp_path / "out" / "dog_preview_000004.png").is_file()


def test_tensorboard_is_optional(model, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train(model, photos, tmp_path, "--tensorboard") == 1
    assert "pip install tensorboard" in capsys.readouterr().err


def test_an_interrupt_saves_and_the_same_command_continues(model, photos, tmp_path, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(model, photos, whole) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cones2.training.history.CsvLog.add", interrupt_at(2))
        assert train(model, photos, broken) == 130
    assert "interrupted after step 2" in capsys.readouterr().out
    assert load_residual(broken / "dog.partial.safetensors").metadata["stopped"] == "interrupted"
    assert (broken / "dog.checkpoint.pt").is_file() and not (broken / "dog.safetensors").exists()
    assert train(model, photos, broken) == 0
    assert "continues after step 2 of 4" in capsys.readouterr().out
    assert losses(broken) == losses(whole)
    assert same_residual(whole, broken)
    assert not (broken / "dog.checkpoint.pt").exists() and not (broken / "dog.partial.safetensors").exists()


def interrupt_at(step):
    from cones2.training.history import CsvLog

    original = CsvLog.add

    def add(log, record):
        original(log, record)
        if record["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return add


def same_residual(first, second, name="dog.safetensors"):
    return torch.equal(load_residual(first / name).tensor, load_residual(second / name).tensor)


def test_a_killed_run_continues_with_the_losses_of_an_uninterrupted_one(model, photos, tmp_path):
    """kill -9 in the middle of a run: the checkpoint on disk is whole, and nothing differs afterwards."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = ("--steps", "400", "--patience", "0", "--checkpoint-every", "3", "--evaluate-every", "100")
    kill_when(command(model, photos, killed, *flags), killed / "dog.csv", rows=8)
    assert (killed / "dog.checkpoint.pt").is_file() and not (killed / "dog.safetensors").exists()
    before = losses(killed)
    # the same numbers as the killed run, which a rising step count would change: cosine ends at 400
    torch.set_num_threads(1)
    finished = ("--steps", "400", "--patience", "0", "--checkpoint-every", "3", "--evaluate-every", "100")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cones2.training.history.CsvLog.add", interrupt_at(14))
        assert train(model, photos, killed, *finished) == 130
        assert train(model, photos, whole, *finished) == 130
    assert len(losses(whole)) == 14
    assert losses(killed) == losses(whole)
    assert before[:8] == losses(whole)[:8]
    assert same_residual(whole, killed, "dog.partial.safetensors")


def command(model, photos, out, *flags):
    quick = ["--resolution", "64", "--batch-size", "2", "--held-out", "4"]
    base = ["-m", "cones2", "train", "--recipe", "photos", "--model", str(model), "--images", str(photos)]
    base += ["--subject", "dog"]
    return [sys.executable, *base, "--out", str(out), *quick, *flags]


def write_yaml(folder, model, *subjects):
    numbers = "resolution: 64, steps: 3, batch_size: 1, held_out: 0, recipe: photos"
    text = f"defaults: {{model: '{model}', out: out, {numbers}}}\nsubjects:\n"
    text += "".join(f"  - {subject}\n" for subject in subjects)
    (folder / "all.yaml").write_text(text)
    return ["train-all", str(folder / "all.yaml")]


def test_train_all_trains_skips_continues_and_sums_up(model, photos, tmp_path, capsys):
    arguments = write_yaml(
        tmp_path,
        model,
        "{subject: dog, images: photos}",
        "{subject: hot dog, images: photos, name: sausage, flip: true, patience: 0}",
        "{subject: cat, images: nowhere}",
    )
    assert main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 of 3 subjects are done"
    assert [line.split()[:2] for line in lines[-4:-1]] == [
        ["dog", "finished"],
        ["sausage", "finished"],
        ["cat", "failed"],
    ]
    assert load_residual(tmp_path / "out" / "sausage.safetensors").token_num == 2
    photos.rename(tmp_path / "nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cones2.training.history.CsvLog.add", interrupt_at(2))
        assert main(arguments) == 130
    out = capsys.readouterr().out
    assert "dog                      present" in out and "cat                      interrupted" in out
    assert main(arguments) == 0
    assert "continues after step 2 of 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, message",
    [
        ("subjects: [", "cannot be read as YAML"),
        ("[1, 2]", "give `subjects`"),
        ("subjects: []", "give `subjects`"),
        ("subjects: [{subject: dog}]\nspeed: 3", "unknown: speed"),
        ("subjects: [dog]", 'subject 1: "dog" is not a mapping'),
        ("subjects: [{subject: dog}]", "subject 1: the following arguments are required: --model"),
        ("subjects: [{subject: dog, model: m, images: i, steps: many}]", '"many" is not a whole number'),
        (
            "subjects: [{subject: dog, model: m, images: i, speed: 2}]",
            'there is no flag "--speed": did you mean --seed?',
        ),
        ("subjects: [{subject: dog, model: m, images: i, name: ../x}]", "may not contain a folder"),
        (
            "subjects: [{subject: dog, model: m, images: i, steps: 0}]",
            "subject 1: argument --steps",
        ),
        ('subjects: [{subject: "do\\0g", model: m, images: i}]', "subject 1: the subject phrase"),
        ('subjects: [{subject: dog, model: m, images: i, name: "re\\ex"}]', r're\x1bx" has a character that does not'),
        ("a: &a [x, x]\nb: &b [*a, *a]\nsubjects: [*b, [*b, *b]]\n1: 2", "unknown: 1, a, b"),
        ("defaults: &a {1: [x, x]}\nsubjects: [[*a, *a]]", "is not a mapping of flags"),
        (
            "subjects: [{subject: a, model: m, images: i}, {subject: a, model: m, images: i}]",
            'two subjects write to "a"',
        ),
    ],
)
def test_train_all_names_mistakes_before_it_starts(tmp_path, capsys, text, message):
    (tmp_path / "all.yaml").write_text(text)
    assert main(["train-all", str(tmp_path / "all.yaml")]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_like_one_that_accumulates(model, photos, tmp_path):
    """The processes share the samples and average their gradients."""
    pytest.importorskip("accelerate")
    # what `accelerate launch` starts for several GPUs; it starts no second process on a machine without
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617"]
    run = command(model, photos, tmp_path / "two", "--steps", "2", "--device", "cpu")[1:]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *run], cwd=tmp_path, env=environment, capture_output=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert train(model, photos, tmp_path / "one", "--steps", "2", "--accumulation", "2", "--device", "cpu") == 0
    two, one = (np.array(losses(tmp_path / name), dtype=float) for name in ("two", "one"))
    assert two == pytest.approx(one, rel=1e-5)
    vectors = [load_residual(tmp_path / name / "dog.safetensors").tensor for name in ("two", "one")]
    assert torch.allclose(*vectors, atol=1e-4)


def test_errors_are_config_errors():
    from cones2.cli.train import parse_options

    with pytest.raises(ConfigError, match="required"):
        parse_options([])
