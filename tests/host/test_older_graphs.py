"""Graphs of earlier versions of the pack, in the real frontend."""

import pytest

from tests.host.client.browser import SCRIPTS, Browser

pytestmark = pytest.mark.browser


def test_links_values_and_the_names_of_shipped_files_stay(frontend: Browser) -> None:
    frontend.add_script(SCRIPTS / "older.js")
    found = frontend.call("openOlder")
    assert found["marked"] == []
    assert found["file"] == "demo/blue_white_dog.safetensors"
    assert found["layout"] == {"width": 640, "height": 480, "subjects": "dog", "weight": 3, "boxes": ["2", 1]}
    sampler = {
        name: found["sampler"][name] for name in ("layout", "seed", "guided_steps", "recurrence", "negative_mode")
    }
    assert sampler == {
        "layout": ["3", 0],
        "seed": 4,
        "guided_steps": 5,
        "recurrence": False,
        "negative_mode": "others",
    }
    assert found["sampler"]["outside_weight"] == -2
    assert found["training"] == {
        "images": ["5", 0], "subject": "cat", "method": "paper", "steps": 1000, "learning_rate": 0.00001,
        "resolution": 64, "batch_size": 2, "accumulation": 3, "seed": 7, "save_name": "rex",
        "gradient_checkpointing": True, "preview_every": 10, "recipe": "photos", "description": "a gray cat",
        "folder": "(none)",
    }  # fmt: skip
    assert found["sampling"] == {
        "seed": 1, "steps": 30, "cfg": 6, "sampler_name": "euler", "scheduler": "simple", "denoise": 0.9,
        "guidance_weight": 0.1, "guided_steps": 5, "recurrence": False, "negative_mode": "others", "outside_weight": -3,
        "photo_start": 8, "preset": "as set", "show_attention": False,
        "also_closed": "nothing",
    }  # fmt: skip
    assert found["inSight"] == [True, True]  # rarely needed, but set
    assert frontend.take_problems() == []
