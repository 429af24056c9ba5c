"""Texts from outside stay on one printable line of bounded length."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import CheckpointError, Cones2Error, ResidualError
from cones2.messages import LIST_LIMIT, MESSAGE_LIMIT, NAME_LIMIT, encodable, listed, shown


@given(st.text(alphabet=st.characters(), max_size=400), st.integers(1, 300))
def test_any_text_becomes_one_printable_line(text: str, limit: int) -> None:
    line = shown(text, limit)
    assert line.isprintable() and len(line) <= limit
    line.encode("utf-8")


def test_printable_texts_stay_as_they_are() -> None:
    assert shown("hot dog №1 🐕") == "hot dog №1 🐕"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb", r"a\nb"),
        ("\u202edog", r"\u202edog"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_long_texts_are_cut_and_say_so() -> None:
    line = shown("x" * 300_000)
    assert len(line) == NAME_LIMIT and line.endswith("…")


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "\ud83d\n", "n" * 300_000])
def test_lists_of_any_names_are_short(name: str) -> None:
    line = listed([name] * 5000)
    assert line.isprintable() and len(line) < LIST_LIMIT + 20 and line.endswith(" and 4,992 more")


def test_lists_of_few_names_are_whole() -> None:
    assert listed([]) == "none"
    assert listed(["dog", "hot dog"]) == "dog, hot dog"
    assert listed({1: 0, 2: 0, 3: 0}, 2) == "1, 2 and 1 more"


def test_lone_surrogates_become_escapes() -> None:
    assert encodable("dög\n\udcff") == "dög\n\\udcff"


def test_every_error_of_the_engine_is_one_bounded_line() -> None:
    error = ResidualError("\x1b]0;title\x07" + "y" * 300_000)
    assert isinstance(error, Cones2Error)
    assert str(error).isprintable() and len(str(error)) <= MESSAGE_LIMIT


@pytest.mark.parametrize("kind", [Cones2Error, ResidualError, CheckpointError])
def test_errors_are_called_by_a_plain_name_that_leads_to_them(kind: type[Cones2Error]) -> None:
    assert f"{kind.__module__}.{kind.__qualname__}" == f"cones2.{kind.__name__}"
    again = pickle.loads(pickle.dumps(kind("a sentence")))
    assert type(again) is kind and str(again) == "a sentence"
