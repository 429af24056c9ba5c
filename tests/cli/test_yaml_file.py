"""The YAML of `cones2 train-all`: small files of bad intentions are one sentence, at once."""

from __future__ import annotations

import time

import pytest

from cones2.cli import main
from cones2.cli.yaml_file import MAX_VALUES, read_yaml
from cones2.errors import ConfigError


def nested(levels: int, times: int = 9) -> str:
    """Lists of lists, each of which repeats the one before."""
    lists = (f", k{level}: &b{level} [{', '.join([f'*b{level - 1}'] * times)}]" for level in range(1, levels))
    return "subjects:\n- {k0: &b0 [x, x]" + "".join(lists) + f", subject: *b{levels - 1}}}"


def merged(levels: int) -> str:
    """Mappings that merge ten copies of the one before."""
    lines = (f"- &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}\n" for level in range(1, levels))
    return "defaults: &a0 {k: v}\nsubjects:\n" + "".join(lines)


SLOW = {
    "nested aliases": (nested(12), "more than 50,000 values"),
    "merges": (merged(12), "more than 50,000 values"),
    "many subjects": ("subjects: [" + "{}," * 20_000 + "]", "has 20,000 subjects: 1,000 is the limit"),
    "an alias for each subject": ("subjects: [&a {}" + ", *a" * 1000 + "]", "has 1,001 subjects"),
    "many values": ("subjects: [" + "x," * (MAX_VALUES + 1) + "]", "more than 50,000 values"),
    "deep": ("[" * 300_000, "nested deeper than 20 levels"),
    "an alias of itself": ("subjects: &s [*s]", 'the alias "s" repeats nothing that ends before it'),
    "an unknown alias": (f"subjects: *{'s' * 90_000}", 'sss…" repeats nothing that ends before it'),
    "base 60": ("subjects:\n- {subject: dog, steps: 1" + ":1" * 60_000 + "}", "is not a whole number"),
}
RAW = {
    "no date": ("2024-13-45", '"2024-13-45" is not a whole number from 1 to 1000000'),
    "a number of many digits": ("9" * 5000, "is not a whole number"),
    "a long hexadecimal number": ("0x" + "f" * 9000, "is not a whole number"),
    "an escape beyond Unicode": ('"\\UFFFFFFFF"', "cannot be read as YAML"),
    "a character beyond Unicode": ('"\\U00110000"', "cannot be read as YAML"),
    "a tag": ("!!bool maybe", 'the tag "tag:yaml.org,2002:bool" is not read'),
    "code": ('!!python/object/apply:os.system ["true"]', "is not read"),
    "a list": ("[1, 2]", "steps is a list: a text or a number is needed"),
    "nothing": ("", "steps is empty: a text or a number is needed"),
    "a key that is a mapping": ("3, ? {a: b} : c", "unhashable"),
}


def refused(tmp_path, capsys, text: str, message: str) -> None:
    (tmp_path / "all.yaml").write_text(text)
    assert main(["train-all", str(tmp_path / "all.yaml")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert line.isprintable() and len(line.removeprefix(f"error: {tmp_path}")) < 420


@pytest.mark.parametrize("name", SLOW)
def test_what_would_take_ages_is_refused_at_once(tmp_path, capsys, name):
    started = time.process_time()
    refused(tmp_path, capsys, *SLOW[name])
    assert time.process_time() - started < 10


@pytest.mark.parametrize("name", RAW)
def test_values_that_yaml_reads_are_one_sentence(tmp_path, capsys, name):
    value, message = RAW[name]
    refused(tmp_path, capsys, f"subjects:\n- {{subject: dog, model: m, images: i, steps: {value}}}", message)


def test_a_version_with_a_huge_number(tmp_path, capsys):
    refused(tmp_path, capsys, f"%YAML 1.{'9' * 5000}\n--- {{subjects: []}}", "cannot be read as YAML")


@pytest.mark.parametrize("flag", ["model", "images", "masks", "out", "tokenizer"])
@pytest.mark.parametrize("path", ["a\\0b", "a\\ud83d"])
def test_paths_that_no_system_has_are_found_before_anything_is_done(tmp_path, capsys, flag, path):
    flags = {"subject": "dog", "model": "m", "images": "i", flag: path}
    entry = ", ".join(f'{key}: "{value}"' for key, value in flags.items())
    refused(tmp_path, capsys, f"subjects:\n- {{{entry}}}", "is not a path: it holds a character")


def test_of_many_mistakes_the_first_are_named(tmp_path, capsys):
    refused(tmp_path, capsys, "subjects: [" + "{}," * 999 + "]", "; and 99")


def test_simple_values_and_aliases_are_read(tmp_path):
    path = tmp_path / "all.yaml"
    path.write_text(
        "defaults: &all {model: m, flip: yes, out: ~}\nsubjects:\n"
        "- {<<: *all, subject: dog, steps: 010, rate: 1e-3, name: 2024-01-02}\n- *all\n"
    )
    defaults = {"model": "m", "flip": True, "out": None}
    assert read_yaml(path, "file") == {
        "defaults": defaults,
        "subjects": [
            {**defaults, "subject": "dog", "steps": "010", "rate": "1e-3", "name": "2024-01-02"},
            defaults,
        ],
    }


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="there is no training config at"):
        read_yaml(tmp_path / "all.yaml", "training config")
