"""Reading the published guidance_config.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cones2.errors import ConfigError
from cones2.layout.painted import ColorEntry
from cones2.published.config import GuidanceConfig, load_guidance_configs, read_configs
from cones2.published.config_values import ConfigSubject
from cones2.rules import GuidanceSettings
from tests.support.guidance_configs import ENTRY, load_one, write


def test_published_form(folder: Path) -> None:
    config = load_one(folder)
    assert config == GuidanceConfig(
        prompt="a mug and a dog on the beach",
        subjects=(
            ConfigSubject("mug", 2, folder / "residuals/mug.pt"),
            ConfigSubject("dog", 5, folder / "residuals/dog.pt"),
        ),
        colors=(ColorEntry((255, 192, 0), "mug", 2.5), ColorEntry((255, 0, 0), "dog", 1.0)),
        guided_steps=20,
        guidance=GuidanceSettings(guidance_weight=0.05, outside_weight=-1e6),
        layout=folder / "layouts/beach.png",
        source=folder / "guidance_config.json",
        entry=1,
    )


def test_defaults_are_the_published_ones(folder: Path) -> None:
    (config,) = load_guidance_configs(write(folder, {"prompt": "a dog", "color_context": {"red": ["dog"]}}))
    assert (config.guided_steps, config.guidance) == (50, GuidanceSettings(0.08, -1e8))
    assert (config.subjects, config.layout, config.colors) == ((), None, (((255, 0, 0), "dog", 2.5),))


def test_every_entry_is_read(folder: Path) -> None:
    configs = load_guidance_configs(write(folder, [ENTRY, ENTRY | {"prompt": "a dog"}]))
    assert [(config.entry, config.prompt) for config in configs] == [(1, ENTRY["prompt"]), (2, "a dog")]


def test_byte_order_mark_and_short_forms(folder: Path) -> None:
    path = write(
        folder, "\ufeff" + json.dumps(ENTRY | {"subject_list": ["mug", ["dog"]], "color_context": {"red": "dog"}})
    )
    (config,) = load_guidance_configs(path)
    assert [subject.position for subject in config.subjects] == [None, None]
    assert config.colors == (((255, 0, 0), "dog", 2.5),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "  "}, r'prompt is "  ": it must be a text'),
        ({"prompt": 3}, r"prompt is 3: it must be a text"),
        ({"prompt": "a \ud83d dog"}, r"prompt is .*: it must be a text"),
        ({"guidance_steps": 2.5}, r"guidance_steps is 2\.5: it must be a whole number"),
        ({"guidance_steps": -1}, r"guidance_steps is -1: it must be a number from 0 to 10000"),
        ({"guidance_steps": True}, r"guidance_steps is true: it must be a number"),
        ({"guidance_weight": "0.08"}, r'guidance_weight is "0\.08": it must be a number from 0 to 1000'),
        ({"guidance_weight": 10**400}, r"guidance_weight is 1000.*: it must be a number"),
        ({"weight_negative": 1}, r"weight_negative is 1: it must be a number from -1e\+30 to 0"),
        ({"subject_list": {"dog": 5}}, r"subject_list is .*: it must be a list"),
        ({"subject_list": [["dog", 5, 1]]}, r'subject_list is \["dog", 5, 1\]: it must be entries such as'),
        (
            {"subject_list": [["dog", "5"]]},
            r'position of "dog" in subject_list is "5": it must be a whole number from 1',
        ),
        ({"subject_list": [["dog", 0]]}, r'position of "dog" in subject_list is 0'),
        ({"subject_list": [["dgo", 5]]}, r'subject_list names "dgo", but residual_dict has "dog", "mug", "barn"'),
        ({"residual_dict": None}, r'subject_list names "mug", but residual_dict has nothing'),
        ({"residual_dict": ["dog.pt"]}, r"residual_dict is .*: it must be an object"),
        ({"residual_dict": {"mug": 1, "dog": "residuals/dog.pt"}}, r'residual_dict "mug" is 1: it must be the path'),
        ({"color_context": [1]}, r"color_context is \[1\]: it must be an object"),
        ({"color_context": {"255,0": ["dog"]}}, r'color_context: "255,0" is not a color'),
        ({"color_context": {"red": 2.5}}, r'color_context "red" is 2\.5: it must be a subject'),
        ({"color_context": {"red": ["dog", "much"]}}, r'weight of "dog" in color_context "red" is "much"'),
        (
            {"color_context": {"255,0,0": ["dog"], "#F00": ["mug"]}},
            r'color_context: "255,0,0" \("dog"\) and "#F00" \("mug"\) are the same color',
        ),
        ({"layout": ["beach.png"]}, r"layout is .*: it must be the path"),
        ({"layout": "a\0b"}, r"layout is .*: it must be the path"),
        ({"layout": "x" * 900}, r"layout is .*: no such file"),
        ({"layout": "x/" * 501}, "layout is .*: a path of at most 1,000 characters"),
        ({"subject_list": ["g" * 201]}, "subject_list: .* is longer than 200 characters"),
        ({"color_context": {"255,0,0": ["dog " * 51, 2.5]}}, "color_context: .* is longer than 200 characters"),
    ],
)
def test_wrong_values_are_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"guidance_config\.json, entry 1: (the )?" + message):
        load_one(folder, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("[{]", r"is not valid JSON: .*\(line 1, column 3\)"),
        ("[]", "must hold a list of entries"),
        ("3", "must hold a list of entries"),
        ('["a dog"]', 'entry 1: must be an object with a prompt, not "a dog"'),
        ("[{}]", "entry 1: prompt is missing"),
        ('{"prompt": "a dog", "guidance_weight": NaN}', "NaN is not a number"),
        ('{"prompt": "a dog", "guidance_weight": 1e999}', "guidance_weight is Infinity"),
        ('{"prompt": "a dog", "prompt": "a cat"}', 'the key "prompt" is written twice'),
        ('{"prompt": "a", "color_context": {"red": "a", "red": "b"}}', 'the key "red" is written twice'),
        ("[" * 100_000, "is not a usable config|is not valid JSON"),
        ("1" * 10_000, "is not a usable config"),
    ],
)
def test_broken_files(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_guidance_configs(write(folder, text))


def test_binary_oversized_and_missing_files(folder: Path) -> None:
    path = folder / "guidance_config.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_guidance_configs(path)
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(ValueError, match=r"guidance_config\.json"):
        load_guidance_configs(path)
    with pytest.raises(ValueError, match=r"nothing\.json"):
        load_guidance_configs(folder / "nothing.json")


def test_all_problems_are_collected_and_counted(folder: Path) -> None:
    path = write(folder, [ENTRY | {"prompt": 1, "guidance_steps": "x"}, {"prompt": ""}])
    with pytest.raises(ConfigError, match="and 2 more"):
        load_guidance_configs(path)
    assert len(read_configs(path)[1].problems) == 3


def test_unknown_keys_warn(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_one(folder, guidance_wieght=1)
    assert 'unknown key "guidance_wieght" is ignored; known: prompt' in caplog.text


def test_only_listed_residuals_must_exist(folder: Path) -> None:
    assert load_one(folder).subjects  # barn.pt is nowhere
    with pytest.raises(
        ConfigError, match=r'residual_dict "barn" is "residuals/barn.pt": no such file; looked for (.*), (.*)$'
    ) as info:
        load_one(folder, subject_list=[["barn", 2]])
    assert str(folder / "residuals/barn.pt") in str(info.value)
    assert str(folder / "barn.pt") in str(info.value)


@pytest.mark.parametrize(
    "written", ["deep/er/mug.pt", "/home/someone/mug.pt", r"C:\stuff\mug.pt", r"..\mug.pt", "mug.pt"]
)
def test_file_name_beside_the_config(folder: Path, written: str) -> None:
    (folder / "mug.pt").write_bytes(b"-")
    config = load_one(folder, residual_dict={"mug": written}, subject_list=["mug"])
    assert config.subjects[0].residual == folder / "mug.pt"


def test_own_folder_comes_before_the_file_name(folder: Path) -> None:
    (folder / "mug.pt").write_bytes(b"-")
    config = load_one(folder, residual_dict={"mug": r"residuals\mug.pt"}, subject_list=["mug"])
    assert config.subjects[0].residual == folder / "residuals/mug.pt"


def test_confined_configs_reach_nothing_outside(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "link.pt").symlink_to(folder / "residuals/mug.pt")
    (inner / "loop.pt").symlink_to(inner / "loop.pt")
    for written in ("../residuals/mug.pt", str(folder / "residuals/mug.pt"), "link.pt", "loop.pt"):
        path = write(inner, {"prompt": "a mug", "residual_dict": {"mug": written}, "subject_list": ["mug"]})
        if written != "loop.pt":
            assert load_guidance_configs(path)
        with pytest.raises(ConfigError, match="no such file"):
            load_guidance_configs(path, confine_to=inner)
    (inner / "mug.pt").write_bytes(b"-")
    path = write(inner, {"prompt": "a mug", "residual_dict": {"mug": "../residuals/mug.pt"}, "subject_list": ["mug"]})
    assert load_guidance_configs(path, confine_to=inner)[0].subjects[0].residual == inner / "mug.pt"


_text = st.text("dogmu 25,#./\\é\0\ud83d", max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_entry = st.fixed_dictionaries({}, optional={key: _json for key in ENTRY})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_entry, min_size=1, max_size=3))
def test_any_json_is_read_or_refused_with_a_reason(folder: Path, entries: list[dict[str, Any]]) -> None:
    path = write(folder, entries)
    try:
        configs = load_guidance_configs(path)
    except ConfigError as error:
        assert str(error).startswith(str(path))
        return
    assert len(configs) == len(entries)
    assert all(0 <= config.guidance_weight <= 1000 and config.weight_negative <= 0 for config in configs)


def test_problems_are_named_up_to_a_limit(folder: Path) -> None:
    entries = [{"prompt": index, "guidance_weight": "much"} for index in range(150)]
    _, findings = read_configs(write(folder, entries))
    assert len(findings.problems) == 51
    assert findings.problems[-1] == "there are more than 50 problems: the others are not listed"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"prompt": "dog " * 50_000}], r"is larger than 262,144 bytes|prompt has 200,000 characters"),
        ([ENTRY | {"prompt": "dog " * 5_000}], "prompt has 20,000 characters: 10,000 is the limit"),
        ([ENTRY | {"subject_list": ["dog"] * 2_000}], "subject_list has 2,000 subjects: 32 is the limit"),
        (
            [ENTRY | {"color_context": {f"{index},0,0": "dog" for index in range(200)}}],
            "color_context has 200 subjects: 32 is the limit",
        ),
        ([{"prompt": "a dog"}] * 5_000, "has 5,000 entries: 1,000 is the limit"),
        ([{"prompt": "a dog", "x" * 250_000: 1}], None),
    ],
    ids=["file", "prompt", "subjects", "colors", "entries", "key"],
)
def test_every_part_of_a_config_is_bounded(folder: Path, data: Any, message: str | None) -> None:
    configs, findings = read_configs(write(folder, data))
    for text in (*findings.problems, *findings.notes):
        assert len(text) < 2000
    if message is None:
        assert len(configs) == 1 and not findings.problems
    else:
        assert any(re.search(message, problem) for problem in findings.problems)
