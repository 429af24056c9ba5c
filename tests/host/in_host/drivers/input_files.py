"""Drivers for the pack's own files in the host's folders."""

import tempfile
from pathlib import Path
from unittest import mock

import folder_paths
import scenes


def interrupted_samples() -> dict:
    """Which samples are there after a copy that stopped half-way, and after a user has deleted and changed some."""
    samples = scenes.module("nodes.host.samples")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = list(samples.SAMPLES)

        def there() -> list[str]:
            return [name for name in names if (root / name).exists()]

        with mock.patch.object(folder_paths, "get_input_directory", lambda: folder):
            (root / names[-1]).parent.mkdir(parents=True)  # where the copy stopped
            (root / names[0]).write_text("mine")
            samples.add_samples()
            completed = there() == names
            (root / names[-1]).unlink()
            (root / names[1]).unlink()
            samples.add_samples()
        kept = there() == [names[0], *names[2:-1]] and (root / names[0]).read_text() == "mine"
        return {"completed": completed, "kept": kept}


def foreign_names() -> list:
    """What finding a file gives where the host cannot compare paths, as on Windows with a name on another drive."""
    finders = {"folders": "find_residual", "delta_folder": "find_delta", "adapter_folder": "find_adapter"}
    with mock.patch.object(folder_paths, "get_full_path", side_effect=ValueError("path is on mount 'D:'")):
        return [getattr(scenes.module(f"nodes.host.{file}"), name)("D:\\x.pt") for file, name in finders.items()]
