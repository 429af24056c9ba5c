"""The nodes that read text, residuals, pictures, masks, boxes and configs, on the real host."""

import pytest

from tests.host.client.worker import HostError, HostWorker

SD1 = "sd15_short"
MODELS = (SD1, "sd21_short", "sdxl_short")


@pytest.mark.parametrize("name", MODELS)
def test_text_encode_is_the_stock_encoding_and_remembers_rows(in_host: HostWorker, name: str) -> None:
    found = in_host.inputs.text_encode(needs=(name,), name=name)
    assert all(entry["same"] for entry in found.values())
    length = {text: entry["length"] for text, entry in found.items()}
    rows = {text: entry["dog"] for text, entry in found.items()}
    assert length.pop(next(text for text in length if len(text) > 100)) == 231
    assert set(length.values()) == {77}
    assert rows["a dog"] == [2]
    assert rows["a (dog:1.3) and ((a mug)) \\(x\\)"] == [2]
    assert rows["a embedding:twovectors dog"] == [4]
    assert rows["embedding:missing, a dog"] == [3]  # the host keeps the comma
    assert len(rows["Ein schöner Hund, ein 犬 dog 🐶 dog"]) == 2


def test_prompt_whose_encoders_disagree_is_refused(in_host: HostWorker) -> None:
    with pytest.raises(HostError, match=r"PromptError: the embeddings in .* fit only one of the two text encoders"):
        in_host.inputs.unbalanced_embedding(needs=("sdxl_short",), name="sdxl_short")


@pytest.mark.parametrize("name", MODELS)
def test_residuals_land_on_their_words(in_host: HostWorker, name: str) -> None:
    """Prompt: a(1) hot(2) dog(3) and(4) a(5) dog(6) ,(7) a(8) dog(9)."""
    found = in_host.inputs.apply_residual(needs=(name,), name=name)
    assert found["dog"] == [3, 6, 9]
    assert found["joined"] == [2, 3, 6, 9]
    assert found["second"] == [6]
    assert found["combined"] == [[], [2]]
    assert found["external"] and found["input untouched"]
    assert found["chained"] and found["two dogs"]
    for name in ("value", "strength", "chained after another change"):
        assert found[name] < 1e-5, name


def test_other_encoders_and_clip_skip_warn(in_host: HostWorker) -> None:
    found = in_host.inputs.warned(needs=(SD1,), name=SD1)
    assert found["plain"] == found["same encoder"] == found["trained with skip"] == []
    assert len(found["skip"]) == 1 and "CLIP skip" in found["skip"][0]
    assert len(found["other encoder"]) == 1 and "Skipped 1.5" in found["other encoder"][0]
    assert len(found["forged"]) == 1 and found["forged"][0].isprintable() and len(found["forged"][0]) < 500


def test_residual_files_are_found_saved_and_reloaded(in_host: HostWorker) -> None:
    found = in_host.inputs.files(needs=(SD1,), name=SD1)
    assert {"kennel/rex.safetensors", "pets/old_cat.pt"} <= set(found["options"])
    assert found["subject"] == ["dog", "puppy", 0.5]
    assert found["old"] == "old cat"
    assert found["same"] and found["changed"] and found["where"]
    assert found["left over"] == []


def test_the_folder_of_residuals_is_there_after_the_first_start(in_host: HostWorker) -> None:
    assert in_host.inputs.first_start() == {"there": ["put_residuals_here.txt"], "listed": ["demo"]}


def test_residuals_are_saved_into_linked_folders(in_host: HostWorker) -> None:
    assert in_host.inputs.linked_folder() == {"there": True, "loaded": "dog", "left over": 0}


def test_a_config_is_watched_with_the_files_of_its_entry(in_host: HostWorker) -> None:
    found = in_host.inputs.config_stamps()
    common = ["dog.pt", "guidance_config.json", "mug_of_mine.pt"]
    assert found["first"] == sorted([*common, "layout.png"])
    assert found["second"] == sorted([*common, "other.png"])
    assert found["linked"] == sorted([*common, "layout.png", "other.png"])
    assert found["huge"] == ["huge.json"]
    assert found["warnings"] == []


def test_published_config_opens(in_host: HostWorker) -> None:
    found = in_host.inputs.config(needs=(SD1,), name=SD1)
    assert found["prompt"] == "a mug and a dog on the beach, a dog"
    assert found["subjects"] == ["mug", "dog#1"]
    assert found["regions"] == [["mug", 2.5], ["dog", 3]]
    assert found["numbers"] == [0.06, 12, -1e6]
    assert found["rows"] == [2, 5]
    assert found["listed"]


def test_layouts_from_every_form(in_host: HostWorker) -> None:
    found = in_host.inputs.layouts()
    assert found["weight"] == 4
    assert found["masks"] == [[1, 96, 128], pytest.approx(0.8 * 0.45, rel=0.03)]
    assert found["preview"] == [[1, 96, 128, 3], True, True]
    assert found["alpha"]
    assert found["box"] == [30 * 40, True]
    assert found["lists"] == [["dog", "mug"]] * 3
    assert found["batch"] == ["dog", "mug", "cat"]


def test_boxes_of_the_hosts_editor_bring_their_names_and_colors(in_host: HostWorker) -> None:
    found = in_host.inputs.elements()
    assert found["regions"] == [["dog", 2.5, [255, 0, 0]], ["red mug", 3.0, None], ["cat", 4.0, [0, 0, 255]]]
    assert found["boxes"] == [[20, 0, 80, 40], [0, 100, 50, 100], [60, 120, 40, 60]]
    assert found["canvas"] == [200, 100]


def test_tables_are_checked_before_anything_runs(in_host: HostWorker) -> None:
    found = in_host.inputs.tables()
    assert found["good"] == found["from another node"] == [True, True, True]
    colors, masks, boxes = found["bad"]
    assert colors.startswith('line 1 of the color table is "red dog"')
    assert masks == boxes and masks.startswith('line 1 has the weight "heavy"')
    assert found["twice"].startswith('#ff0000 stands for both "dog" and "mug"')


def test_heat_maps_show_where_a_guided_subject_is_looked_at(in_host: HostWorker) -> None:
    found = in_host.inputs.attention(needs=(SD1,), name=SD1)
    (guided_shape, guided), (plain_shape, plain) = found["guided"], found["plain"]
    assert guided_shape == plain_shape and guided_shape[0] == 2 and guided_shape[2] == 512
    assert guided > 2 * plain


MESSAGES = {
    "missing subject": (
        'PromptError: the layout places "dog", which is not in the prompt; its words are: a, cat, and',
    ),
    "missing residual subject": ('PromptError: "dog" is not in the prompt; its words are: a, cat',),
    "no tokens": ("PromptError: this conditioning does not know its words", "Text Encode (Cones 2)"),
    "wrong text": ("PromptError: the text has 154 tokens with padding but the conditioning only 77",),
    "file without a phrase": (
        'PromptError: "my old cat", the name of the residual\'s file, is not in the prompt; its words are: a, dog',
    ),
    "wrong width and phrase": ('ResidualError: the residual "cat" is 1024 wide (SD 2.x)',),
    "wrong width": ('ResidualError: the residual "dog" is 1024 wide (SD 2.x)', "768 wide (SD 1.x)"),
    "too many rows": ('ResidualError: the residual "dog" covers 2 tokens', "only 1"),
    "two residuals saved": ('ResidualError: 2 residuals are connected ("dog", "cat")',),
    "file exists": ("ResidualError", "twice.safetensors", "exists"),
    "outside": ('ResidualError: "../../evil" is not a name inside',),
    "absent file": ('ResidualError: there is no residual "nobody.safetensors"', "found:"),
    "escaping file": ('ResidualError: there is no residual "../checkpoints/sd15_short.safetensors"',),
    "no table": ("LayoutError: the color table is empty",),
    "duplicate colors": ('LayoutError: #ff0000 stands for both "dog" and "mug"',),
    "no separator": ('LayoutError: line 1 of the color table is "red dog"',),
    "unknown color": ('LayoutError: "reddish" is not a color',),
    "bad weight": ('LayoutError: line 1 has the weight "heavy"',),
    "absent color": ('LayoutError: the layout picture has no #0000ff ("mug")', "#ff0000"),
    "NaN picture": ("LayoutError: the layout picture holds values that are not numbers",),
    "empty mask": ('LayoutError: the mask of "dog" is empty',),
    "NaN mask": ('LayoutError: the mask of "dog" holds values that are not numbers',),
    "masks and subjects": ("LayoutError: 2 masks, 1 subjects",),
    "no boxes": ("LayoutError: there are no boxes: draw one per subject, in Create Bounding Boxes",),
    "nothing drawn": ("LayoutError: nothing is drawn: connect elements of Create Bounding Boxes, or boxes",),
    "no elements": ("LayoutError: there are no boxes",),
    "element without a name": ("LayoutError: box 2 names no subject: type its word of the prompt",),
    "not an element": ("LayoutError: {'desc': 'dog'} is not an element of Create Bounding Boxes",),
    "odd color of an element": ('LayoutError: "#12" is not a color',),
    "boxes and subjects": ("LayoutError: 1 box but 2 subjects",),
    "not a box": ("LayoutError: {'x': 1, 'y': 2} is not a bounding box",),
    "flat box": ('LayoutError: the box of "dog" is 0 × 3',),
    "box outside": (
        'LayoutError: the box of "dog" at (200, 2)',
        "outside the 100 × 100 canvas: give the size",
    ),
    "other architecture": (
        "ModelError: PixArt is not a class of models that a layout can steer",
        "SD 1.x, SD 2.x, SDXL",
    ),
    "shortened prompt": ("ModelError: another node replaces the prompts", "attention couple"),
    "other sampler": ("ModelError: OwnSampler steps in its own way",),
    "absent config": ('ConfigError: there is no guidance config "nowhere.json"',),
    "escaping config": ('ConfigError: there is no guidance config "../models/x.json"',),
    "no such entry": ("ConfigError: guidance_config.json has 2 entries: entry 3 does not exist",),
    "name with NUL": ('ResidualError: the name "re\\x00x" has a character that does not print',),
    "name with a line break": ("ResidualError: the name", "does not print"),
    "name with half a character": ("ResidualError: the name", "does not print"),
    "long name": ("ResidualError: the name", "300 bytes, at most 200"),
    "name of a device": ('ResidualError: the name "NUL.txt" is reserved by Windows',),
    "name of a port": ('ResidualError: the name "com1" is reserved by Windows',),
    "name with a dot": ('ResidualError: the name "rex." ends with a dot or a space',),
    "folder with a space": ('ResidualError: the name "pets " ends with a dot or a space',),
    "name of a stream": ('ResidualError: the name "rex:hidden" contains :',),
    "file as folder": ('ResidualError: nothing can be saved as "a.safetensors/b"', "is a file, not a folder"),
    "hidden way out": ("ResidualError", "is not a name inside"),
    "absolute name": ('ResidualError: "/tmp/evil" is not a name inside',),
    "file with NUL": ('ResidualError: there is no residual "re\\x00x"',),
    "config with NUL": ('ConfigError: there is no guidance config "a\\x00b.json"',),
    "long config": ('ConfigError: there is no guidance config "aaa', "…"),
    "zeroth entry": ("ConfigError: guidance_config.json has 2 entries: entry 0 does not exist",),
    "no pictures": ("LayoutError: the layout picture has the shape (0, 8, 8, 3)",),
    "picture without pixels": ("LayoutError: the layout picture has the shape (1, 0, 8, 3)",),
    "five channels": ("LayoutError: the layout picture has 5 channels: expected 1 (gray), 3 (RGB) or 4",),
    "flat picture": ("LayoutError: the layout picture has the shape (8, 8, 3)",),
    "sparse picture": ("LayoutError: the layout picture is a sparse tensor",),
    "NaN tolerance": ("LayoutError", "tolerance nan"),
    "NaN weight": ('LayoutError: the weight of "dog" is nan',),
    "no masks": ("LayoutError: mask0 has the shape (0, 8, 8)",),
    "mask without cells": ("LayoutError: mask0 has the shape (1, 0, 0)",),
    "mask of one row": ("LayoutError: mask0 has the shape (8,)",),
    "sparse mask": ("LayoutError: mask0 is a sparse tensor",),
    "400 digits": ("LayoutError: a bounding box has a number of more than 300 digits",),
    "5000 digits": ("LayoutError: a bounding box has a number of more than 300 digits",),
    "NaN box": ('LayoutError: the box of "dog" is', "finite numbers"),
    "huge strength": ("Cones2Error: strength is too large: it must be a finite number",),
    "too long a path": ('ResidualError: nothing can be saved as "aaa', "File name too long"),
    "NaN strength": ("Cones2Error: strength is nan: it must be a finite number",),
    "NaN guidance": ("Cones2Error: guidance_weight is nan",),
    "NaN percent": ("Cones2Error: end_percent is nan",),
    "infinite outside": ("Cones2Error: outside_weight is -inf",),
    "NaN cfg": ("Cones2Error: cfg is nan",),
    "photos without pixels": ("ConfigError: images has the shape (3, 0, 8, 3)",),
    "photos of five channels": ("ConfigError: images has 5 channels",),
    "nothing to look for": ("PromptError: no subject to look for",),
    "no steps": ("Cones2Error: no step lies between first_step 30",),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_wrong_input_gets_one_clear_sentence(in_host: HostWorker, what: str) -> None:
    message = in_host.refusals.fails(needs=(SD1,), what=what)
    assert all(part in message for part in MESSAGES[what]), message
    assert "\n" not in message and len(message) < 400
