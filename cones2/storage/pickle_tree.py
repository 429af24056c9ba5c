"""What the pickle of a tensor says, read without running it.

torch.save describes a tensor with two dozen of the pickle's instructions and a few names. Only those are
understood here: a name stays a name, a call stays a call, a dictionary stays a list of pairs. Only texts and
names may be used twice. So the result is a tree no larger than the pickle, nothing in it is hashed or
compared, and the work is proportional to the number of instructions.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass, field
from typing import Any

from ..errors import Cones2Error
from ..messages import shown

MAX_BYTES = 64 << 10
"""The longest pickle that is read; that of a tensor has about 300 bytes."""

DAMAGED = "it is damaged or not a tensor saved by torch.save"

# every name torch.save writes for plain tensors; anything else is somebody's code
_HARMLESS = re.compile(
    r"torch\._utils _rebuild_(tensor_v[23]|parameter)"
    r"|collections OrderedDict"
    r"|torch(\.storage)? (\w+Storage|(float|u?int|complex)\d\w*)"
)


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that the pickle names, such as "torch FloatStorage"."""

    text: str


@dataclass(frozen=True, eq=False)
class Call:
    """A call that unpickling would make."""

    function: object
    arguments: object


@dataclass(frozen=True, eq=False)
class PersistentId:
    """A reference to data outside the pickle."""

    value: object


@dataclass(frozen=True, eq=False)
class Pairs:
    """The keys and values of a dictionary, in the order they were written."""

    items: list[tuple[object, object]] = field(default_factory=list)

    def get(self, wanted: str) -> object:
        """The value of a text key, None where there is none."""
        return next((value for key, value in self.items if isinstance(key, str) and key == wanted), None)


def read_pickle(content: bytes, start: int = 0, limit: int = MAX_BYTES) -> tuple[object, int]:
    """The value of the pickle that begins at `start`, and where the pickle ends.

    limit: bytes of it at most.

    Raises Cones2Error for a damaged pickle, and for names and instructions that torch.save does not
    write for plain tensors or dictionaries and lists of them.
    """
    reader = _Reader()
    try:
        for opcode, argument, position in pickletools.genops(content[start : start + limit]):
            if opcode.name == "STOP":
                return reader.stack.pop(), start + (position or 0) + 1
            reader.read(opcode.name, argument)
    except Cones2Error:
        raise
    except Exception as error:  # pickletools raises several kinds, a short stack an IndexError
        raise Cones2Error(DAMAGED) from error
    raise Cones2Error(DAMAGED)


class _Reader:
    """The stack machine that pickles are written for."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Name | str] = {}

    def read(self, instruction: str, argument: Any) -> None:
        """Carry out one instruction other than STOP."""
        stack = self.stack
        match instruction:
            case "PROTO":
                pass
            case "BINFLOAT" | "BININT" | "BININT1" | "BININT2" | "BINUNICODE" | "LONG1":
                stack.append(argument)
            case "NONE":
                stack.append(None)
            case "NEWFALSE" | "NEWTRUE":
                stack.append(instruction == "NEWTRUE")
            case "GLOBAL":
                stack.append(_harmless_name(argument))
            case "BINPERSID":
                stack.append(PersistentId(stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_called(stack.pop(), arguments))
            case "BUILD":  # what a state dict remembers of its modules
                stack.pop()
                if not isinstance(stack[-1], Pairs):
                    raise Cones2Error(DAMAGED)
            case "BINPUT" | "LONG_BINPUT":
                self._remember(argument)
            case "BINGET" | "LONG_BINGET":
                self._recall(argument)
            case _:
                self._build(instruction)

    def _build(self, instruction: str) -> None:
        """Instructions that put tuples, lists and dictionaries together."""
        stack = self.stack
        match instruction:
            case "MARK":
                self._marks.append(len(stack))
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(self._pop(int(instruction[-1])))
            case "TUPLE":
                stack.append(self._pop_to_mark())
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND":
                self._append(self._pop(1))
            case "APPENDS":
                self._append(self._pop_to_mark())
            case "EMPTY_DICT":
                stack.append(Pairs())
            case "SETITEM":
                self._set_items(self._pop(2))
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case _:
                raise Cones2Error(
                    f"it uses the pickle instruction {instruction}, which a plain tensor does not need: "
                    "refused without running it"
                )

    def _pop(self, count: int) -> tuple[Any, ...]:
        """The topmost values, the topmost last."""
        return tuple(reversed([self.stack.pop() for _ in range(count)]))

    def _pop_to_mark(self) -> tuple[Any, ...]:
        first = self._marks.pop()
        values = tuple(self.stack[first:])
        del self.stack[first:]
        return values

    def _append(self, values: tuple[Any, ...]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise Cones2Error(DAMAGED)
        target.extend(values)

    def _set_items(self, values: tuple[Any, ...]) -> None:
        target = self.stack[-1]
        if not isinstance(target, Pairs) or len(values) % 2:
            raise Cones2Error(DAMAGED)
        target.items.extend(zip(values[::2], values[1::2], strict=True))

    def _remember(self, slot: int) -> None:
        value = self.stack[-1]
        if isinstance(value, Name | str):
            self._memo[slot] = value
        else:
            self._memo.pop(slot, None)

    def _recall(self, slot: int) -> None:
        if slot not in self._memo:
            raise Cones2Error(
                "it uses a value twice that is neither a text nor a name, which a plain tensor does not need: "
                "refused without running it"
            )
        self.stack.append(self._memo[slot])


def _called(function: object, arguments: object) -> Call | Pairs:
    """A call that stays one; an empty ordered dictionary is a dictionary."""
    if isinstance(function, Name) and function.text == "collections OrderedDict" and arguments == ():
        return Pairs()
    return Call(function, arguments)


def _harmless_name(text: str) -> Name:
    if not _HARMLESS.fullmatch(text):
        raise Cones2Error(
            f"it refers to {shown(text.replace(' ', '.'), 80)}, which a plain tensor does not need: "
            "refused without running it"
        )
    return Name(text)
