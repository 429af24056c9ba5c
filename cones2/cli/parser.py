"""The parser of all commands: mistakes are one line, with the flag or command that was probably meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from ..messages import listed, shown

_LONGEST_ERROR = 350  # characters
_LONGEST_WORD = 40  # of what is compared with the known words


class Parser(argparse.ArgumentParser):
    """A parser whose messages are one printable line, whatever was typed, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {shown(message, _LONGEST_ERROR)} ({self.prog} --help shows what there is)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse, but an unknown flag is reported before flags that are missing because of it."""
        given = sys.argv[1:] if args is None else list(args)
        self._check_flags(given)
        return super().parse_known_args(given, namespace)

    def _check_flags(self, args: Sequence[str]) -> None:
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        for argument in args:
            if argument == "--" or (self._subparsers is not None and not argument.startswith("-")):
                return  # what follows are no flags of this parser
            flag = argument.partition("=")[0]
            if not flag.startswith("--") or any(name.startswith(flag) for name in known):
                continue
            meant = _meant(flag, known)
            if meant or " " not in argument:  # with a space it may be a text
                self.error(f'there is no flag "{shown(flag)}"{meant}')

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            what = str(action.metavar).lower()
            names = list(action.choices)
            hint = _meant(str(value), names) or f"; there are: {listed(names)}"
            self.error(f'there is no {what} "{shown(value)}"{hint}')
        super()._check_value(action, value)


def _meant(word: str, known: Iterable[str]) -> str:
    """ ": did you mean …?" with the nearest known word; "" when none is near."""
    near = get_close_matches(word[:_LONGEST_WORD], list(known), n=1)
    return f": did you mean {near[0]}?" if near else ""
