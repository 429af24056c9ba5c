"""What may be the phrase of a subject, in a residual file and in a training alike."""

from __future__ import annotations

import unicodedata

from ..errors import Cones2Error
from ..messages import shown
from ..ranges import MAX_PHRASE


def subject_phrase(text: str, kind: type[Cones2Error]) -> str:
    """The phrase as prompts and files hold it: single spaces, without format characters.

    Format characters (Unicode category Cf: zero-width spaces, soft hyphens, direction marks) come with
    copied text and cannot be seen. Raises an error of the given kind when nothing is left, when more than
    200 characters are left, or when one of them does not print.
    """
    phrase = " ".join("".join(letter for letter in text if unicodedata.category(letter) != "Cf").split())
    if not phrase:
        raise kind("the subject phrase is empty: name the kind of thing it is, such as dog")
    if len(phrase) > MAX_PHRASE:
        raise kind(f"the subject phrase has {len(phrase):,} characters, at most {MAX_PHRASE} are allowed")
    if not phrase.isprintable():
        raise kind(f'the subject phrase "{shown(phrase)}" has a character that does not print')
    return phrase
