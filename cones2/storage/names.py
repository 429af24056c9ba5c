"""Names that users give to files, checked before work is done that would be lost with them."""

from __future__ import annotations

import os
import re

from ..errors import Cones2Error
from ..messages import shown

MAX_BYTES = 200
"""Bytes of a name in UTF-8: file systems allow 255, and endings such as "_preview_000000.png" are added."""

_FORBIDDEN = '<>:"/\\|?*'
# spaces before the dot do not help: Windows drops them
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)


def check_file_name(name: str, kind: type[Cones2Error]) -> str:
    """The name, if it can be a file's on every system once an ending is added to it.

    Raises an error of the given kind that says what is wrong: nothing in it, characters that do not print or
    that file systems do not allow (folders included), a dot or space at its end, a name that Windows keeps for
    itself, or more than 200 bytes.
    """
    forbidden = next((character for character in name if character in _FORBIDDEN), None)
    if not name.strip(". "):
        raise kind(f'the name "{shown(name)}" is empty: write for example rex')
    if not name.isprintable():
        raise kind(f'the name "{shown(name)}" has a character that does not print')
    if forbidden in ("/", "\\"):
        raise kind(f'the name "{shown(name)}" may not contain a folder')
    if forbidden is not None:
        raise kind(f'the name "{shown(name)}" contains {forbidden}, which not every file system allows')
    if name[-1] in ". ":
        raise kind(f'the name "{shown(name)}" ends with a dot or a space, which Windows drops')
    if _RESERVED.fullmatch(name):
        raise kind(f'the name "{shown(name)}" is reserved by Windows')
    if len(name.encode()) > MAX_BYTES:
        raise kind(f'the name "{shown(name, 40)}" has {len(name.encode()):,} bytes, at most {MAX_BYTES} are allowed')
    return name


def shortened_name(name: str) -> str:
    """The beginning of a file's name, at most 200 bytes of it, so that endings can be added."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= MAX_BYTES else encoded[:MAX_BYTES].decode(errors="ignore")


def file_name_for(phrase: str) -> str:
    """A file name made of a phrase, which `check_file_name` accepts.

    "hot_dog" for "hot dog"; "subject" where nothing of it is left, "con_subject" for what Windows reserves.
    """
    words = re.sub(r"\W+", "_", phrase).strip("_")
    name = words.encode()[:MAX_BYTES].decode(errors="ignore") or "subject"
    return f"{name}_subject" if _RESERVED.fullmatch(name) else name
