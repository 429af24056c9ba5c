"""YAML from others: plain values alone, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import yaml  # type: ignore[import-untyped]

from ..errors import Cones2Error, ConfigError
from ..messages import shown
from ..storage.files import read_limited, shown_path

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000
"""Values of a file; one that an alias repeats counts each time."""

_MAX_DEPTH = 20
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("bool", "null", "merge")}


def read_yaml(path: Path, what: str) -> object:
    """The mappings, lists, texts, booleans and nulls of a YAML file; `what` names its kind in messages.

    Numbers and dates stay the texts that are written: whoever needs a number reads it with a range. Raises
    ConfigError for a missing or large file, for what is not YAML, for tags, for nesting deeper than 20 and
    for more than 50,000 values, repeated ones counted.
    """
    try:
        content = read_limited(path, MAX_BYTES, what)
    except Cones2Error as error:
        raise ConfigError(str(error)) from error
    try:
        return _Loader(content).get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # raw ones: an escape or a version with huge numbers
        raise ConfigError(f"{shown_path(path)} cannot be read as YAML: {_reason(error)}") from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Counts values while it composes them, so that nothing larger is ever built."""

    # numbers and dates would be built here: huge ones, sexagesimal ones and the 45th of a month among them
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._values = self._depth = 0
        self._values_of: dict[str, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        before, is_alias = self._values, isinstance(event, yaml.AliasEvent)
        if is_alias and event.anchor not in self._values_of:
            raise _refused(event, f'the alias "{shown(event.anchor, 40)}" repeats nothing that ends before it')
        if not is_alias and event.tag is not None:
            raise _refused(event, f'the tag "{shown(event.tag, 40)}" is not read: write plain values')
        self._values += self._values_of[event.anchor] if is_alias else 1
        self._depth += 1
        if self._values > MAX_VALUES:
            raise _refused(event, f"it has more than {MAX_VALUES:,} values, repeated ones counted")
        if self._depth > _MAX_DEPTH:
            raise _refused(event, f"it is nested deeper than {_MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not is_alias and event.anchor is not None:
            self._values_of[event.anchor] = self._values - before
        return node


def _refused(event: Any, problem: str) -> Exception:
    error: Exception = yaml.composer.ComposerError(None, None, problem, event.start_mark)
    return error


def _reason(error: Exception) -> str:
    """What is wrong and where, without the lines of the file that YAML's own message repeats."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return shown(" ".join(str(error).split()))
    mark = error.problem_mark or error.context_mark
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return shown(" ".join(str(error.problem or error.context).split())) + where
