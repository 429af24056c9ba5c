"""Names and texts from outside, made fit for one line of an error message or a log."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

NAME_LIMIT = 200
LIST_LIMIT = 240
MESSAGE_LIMIT = 2000


def shown(text: object, limit: int = NAME_LIMIT) -> str:
    """The text on one line of at most `limit` characters.

    Whatever does not print (control and format characters, lone surrogates, line breaks) is written as
    its escape sequence; what is longer loses its end, and says so with "…".
    """
    source = str(text)
    line = "".join(character if character.isprintable() else _escaped(character) for character in source[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def listed(names: Collection[object], count: int = 8) -> str:
    """The first names, each of at most 40 characters, and how many more there are; "none" without any.

    Together at most 240 characters and the number.
    """
    line = shown(", ".join(shown(name, 40) for name in islice(names, count)), LIST_LIMIT) or "none"
    return f"{line} and {len(names) - count:,} more" if len(names) > count else line


def encodable(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates, as in file names that are not UTF-8, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
