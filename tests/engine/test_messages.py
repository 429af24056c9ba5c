"""Texts from outside stay on one printable line of bounded length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import Cones2Error, ResidualError
from cones2.messages import MESSAGE_LIMIT, NAME_LIMIT, shown


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


def test_every_error_of_the_engine_is_one_bounded_line() -> None:
    error = ResidualError("\x1b]0;title\x07" + "y" * 300_000)
    assert isinstance(error, Cones2Error)
    assert str(error).isprintable() and len(str(error)) <= MESSAGE_LIMIT
