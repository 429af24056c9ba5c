"""Names and texts from outside, made fit for one line of an error message or a log."""

from __future__ import annotations

NAME_LIMIT = 200
MESSAGE_LIMIT = 2000


def shown(text: object, limit: int = NAME_LIMIT) -> str:
    """The text on one line of at most `limit` characters.

    Whatever does not print (control and format characters, lone surrogates, line breaks) is written as
    its escape sequence; what is longer loses its end, and says so with "…".
    """
    source = str(text)
    line = "".join(character if character.isprintable() else _escaped(character) for character in source[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
