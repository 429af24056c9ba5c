"""Names that users give to files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.concepts.phrase import subject_phrase
from cones2.errors import Cones2Error, ConfigError, ResidualError
from cones2.storage.names import check_file_name, file_name_for, shortened_name


@pytest.mark.parametrize(
    "name", ["rex", "my dog", "käfer 犬", "v1.5", "console", "com10", "nul x.txt", "conin$x", "x" * 200]
)
def test_ordinary_names_are_taken_as_they_are(name):
    assert check_file_name(name, ConfigError) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("..", "is empty"),
        ("re\0x", r're\\x00x" has a character that does not print'),
        ("re\nx", r"re\\nx"),
        ("re\x1b[2Jx", "does not print"),
        ("rex\ud83d", "does not print"),
        ("pets/rex", "may not contain a folder"),
        ("..\\rex", "may not contain a folder"),
        ("rex: good", "contains :, which not every file system allows"),
        ("rex?", r"contains \?"),
        ("rex.", "ends with a dot or a space"),
        ("rex ", "ends with a dot or a space"),
        ("con", "is reserved by Windows"),
        ("Nul.txt", "is reserved by Windows"),
        ("LPT1", "is reserved by Windows"),
        ("CONIN$", "is reserved by Windows"),
        ("conout$.txt", "is reserved by Windows"),
        ("nul .txt", "is reserved by Windows"),
        ("Com1  .a.b", "is reserved by Windows"),
        ("x" * 201, "has 201 bytes, at most 200 are allowed"),
        ("犬" * 70, "has 210 bytes"),
    ],
)
@pytest.mark.parametrize("kind", [ConfigError, ResidualError])
def test_what_cannot_be_a_name_is_said_in_the_callers_kind(name, message, kind):
    with pytest.raises(kind, match=message):
        check_file_name(name, kind)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("dog", "dog"),
        (" hot dog ", "hot_dog"),
        ("pug's dog!", "pug_s_dog"),
        ("犬", "犬"),
        ("!!", "subject"),
        ("con", "con_subject"),
    ],
)
def test_a_phrase_becomes_a_name(phrase, name):
    assert file_name_for(phrase) == name


@pytest.mark.parametrize("name", ["dog", "x" * 200, "sd\udcff"])
def test_names_that_fit_are_not_shortened(name):
    assert shortened_name(name) == name


@pytest.mark.parametrize("name", ["x" * 250, "犬" * 80, "\udcff" * 250])
def test_long_names_are_shortened(name):
    assert name.startswith(shortened_name(name)) and len(shortened_name(name).encode()) <= 200


@given(st.text())
def test_the_name_of_any_phrase_is_a_name(text):
    try:
        name = file_name_for(subject_phrase(text, Cones2Error))
    except Cones2Error:
        return
    assert check_file_name(name, Cones2Error) == name
