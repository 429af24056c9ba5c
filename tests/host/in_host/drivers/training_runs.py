"""Drivers for training runs: which inputs find their run again, and what stopped, damaged and failed runs leave."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import comfy.model_management
import folder_paths
import hostkit
import scenes
import torch
from learning import (
    changed,
    counted_runs,
    endings,
    patchers,
    photos,
    runs_folder,
    state,
    train,
    train_anew,
    with_lora,
)


def interrupted(method: str) -> dict:
    """An interrupt after the second step: the checkpoint waits, and the same inputs continue from it."""
    name = "sd15_short"
    whole = train_anew(name, method, steps=4)[1]["loss"]
    shutil.rmtree(runs_folder())
    loop = scenes.module("cones2.training.loop")
    original = loop.Trainer._finish_step

    def stopping(self: Any, *args: Any) -> None:
        original(self, *args)
        if self.step == 2:
            comfy.model_management.interrupt_current_processing(True)

    parts = hostkit.checkpoint(name)
    before = [state(patcher) for patcher in patchers(parts)]
    with mock.patch.object(loop.Trainer, "_finish_step", stopping):
        try:
            train(name, method, steps=4)
            raised = False
        except comfy.model_management.InterruptProcessingException:
            raised = True
        finally:
            comfy.model_management.interrupt_current_processing(False)
    different = changed(parts, before)
    waiting = endings()
    with counted_runs() as steps:
        again = train(name, method, steps=4)[1]["loss"]
    return {
        "raised": raised,
        "waiting": waiting,
        "steps": steps,
        "same": again == whole,
        "left": endings(),
        "changed": different,
    }


def stopped(**changes: Any) -> str:
    """Message of the exception that ends a training, or "interrupted"."""
    try:
        train("sd15_short", steps=4, **changes)
    except comfy.model_management.InterruptProcessingException:
        return "interrupted"
    except ValueError as error:
        return str(error)
    return ""


def interrupted_unflagged() -> str:
    """How a new run ends by an interrupt that it sees before its third step and somebody else takes back at once."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    answers = iter([False, False, True])
    with mock.patch.object(comfy.model_management, "processing_interrupted", lambda: next(answers, False)):
        return stopped()


def unflagged_interrupt() -> dict:
    """That interrupt, and the same inputs again."""
    ended = interrupted_unflagged()
    waiting = endings()
    with counted_runs() as steps:
        train("sd15_short", steps=4)
    return {"ended": ended, "waiting": waiting, "steps": steps}


def out_of_memory(method: str) -> dict:
    """The device's memory ends in the third step's forward pass; then the same inputs with gradient checkpointing."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    loop = scenes.module("cones2.training.loop")
    original = loop.Trainer._accumulate

    def failing(self: Any, *args: Any) -> Any:
        if self.step == 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, *args)

    with mock.patch.object(loop.Trainer, "_accumulate", failing):
        ended = stopped(method=method)
    waiting = endings()
    with counted_runs() as steps:
        train("sd15_short", method, steps=4, gradient_checkpointing=True)
    return {"ended": ended, "waiting": waiting, "steps": steps}


def unusable_checkpoint() -> dict:
    """Steps of the same inputs when the checkpoint of their stopped run is of other latents, and when it is damaged."""
    found = {}
    log = scenes.module("nodes.host.train").__name__
    for kind in ("other latents", "damaged"):
        interrupted_unflagged()
        path = next(runs_folder().glob("*.checkpoint.pt"))
        if kind == "damaged":
            path.write_bytes(os.urandom(64))
        else:
            torch.save({**torch.load(path, weights_only=True), "data": "latents of a VAE in tiles"}, path)
        with counted_runs() as steps, hostkit.warnings_of(log) as warnings:
            train("sd15_short", steps=4)
        found[kind] = {"steps": steps, "warned": len(warnings), "left": endings()}
    return found


def once() -> dict:
    """Steps done by a sequence of queues with equal and changed inputs."""
    shutil.rmtree(runs_folder(), ignore_errors=True)
    model, clip, vae = hostkit.checkpoint("sd15_short")
    adapted = with_lora(model)
    velocity = hostkit.run_node("ModelSamplingDiscrete", model=model, sampling="v_prediction", zsnr=False)[0]
    text = with_lora(clip, "self_attn.q_proj.weight")
    queues = {
        "first": {},
        "same": {},
        "other name": {"save_name": "rex", "preview_every": 1},
        "same name": {"save_name": "rex"},
        "other seed": {"seed": 1},
        "one photo less": {"images": [photos()[:2]]},
        "lora": {"parts": (adapted, clip, vae)},
        "lora again": {"parts": (adapted.clone(), clip, vae)},
        "velocity": {"parts": (velocity, clip, vae)},
        "text lora": {"parts": (model, text, vae)},
        "text lora again": {"parts": (model, text.clone(), vae)},
        "plain again": {"parts": (model, clip, vae)},
    }
    done, losses = {}, {}
    for key, changes in queues.items():
        with counted_runs() as steps:
            losses[key] = train("sd15_short", **changes)[1]["loss"]
        done[key] = len(steps)
    same = losses["first"] == losses["same"] == losses["plain again"] and losses["lora"] == losses["lora again"]
    same = same and losses["text lora"] == losses["text lora again"]
    return {"steps": done, "same": same, "files": saved_files("rex*")}


def steps_of_one_run() -> int:
    """Steps done by a queue whose inputs may have been trained by an earlier process."""
    with counted_runs() as steps:
        train("sd15_short", save_name="restarted")
    return len(steps)


def saved() -> list[str]:
    """File names after training under one name with three seeds, two of them equal."""
    for seed in (0, 1, 1):
        train("sd15_short", steps=1, save_name="pets/rex", seed=seed)
    return saved_files("pets/*")


def damaged() -> list[int]:
    """Steps done after the files of a finished run were damaged."""
    train_anew("sd15_short", steps=1)
    done = []
    for ending in ("csv", "safetensors"):
        next(runs_folder().glob(f"*.{ending}")).write_bytes(os.urandom(64))
        with counted_runs() as steps:
            train("sd15_short", steps=1)
        done.append(len(steps))
    return done


def on_a_full_disk() -> dict:
    """A finished training whose residual, or only its history, cannot be kept among the runs."""
    runs, node = scenes.module("nodes.host.training_runs"), scenes.module("nodes.host.train")
    full = OSError(errno.ENOSPC, "No space left on device")
    found = {}
    for part in ("history", "residual"):
        shutil.rmtree(runs_folder(), ignore_errors=True)
        original = runs.CsvLog if part == "history" else node.RESIDUAL_FILES.save

        def refusing(*args: Any, original: Any = original, **options: Any) -> Any:
            if any(isinstance(arg, Path) and arg.is_relative_to(runs_folder()) for arg in args):
                raise full
            return original(*args, **options)

        refused = (
            mock.patch.object(runs, "CsvLog", refusing)
            if part == "history"
            else mock.patch.object(node, "RESIDUAL_FILES", replace(node.RESIDUAL_FILES, save=refusing))
        )
        with refused, hostkit.warnings_of() as warnings:
            (residual,), losses, _ = train("sd15_short", steps=1, save_name=f"full/{part}")
        found[part] = {
            "residual": bool(residual.tensor.abs().sum() > 0),
            "losses": len(losses["loss"]),
            "files": saved_files(f"full/{part}*"),
            "left": endings(),
            "warned": [text for text in warnings if "cannot be kept" in text],
        }
    return found


def saved_files(pattern: str) -> list[str]:
    root = Path(folder_paths.get_folder_paths("residuals")[0])
    return sorted(str(path.relative_to(root)) for path in root.glob(pattern))
