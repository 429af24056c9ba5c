"""How a subject is typed: `--subject "dog=dog.safetensors@2.5:#ff0000"`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cones2.cli.jobs import parse_subject
from cones2.errors import Cones2Error

RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog=dog.pt@2:#f00", ("dog", Path("dog.pt"), (RED, "dog", 2.0))),
        ("dog=dog.pt", ("dog", Path("dog.pt"), None)),
        ("hot dog:red", ("hot dog", None, (RED, "hot dog", 2.5))),
        ("dog@1.5:255,0,0", ("dog", None, (RED, "dog", 1.5))),
        (r"dog=C:\dogs\a@b.pt:#ff0000", ("dog", Path(r"C:\dogs\a@b.pt"), (RED, "dog", 2.5))),
        (r"dog=C:\dogs\dog.pt", ("dog", Path(r"C:\dogs\dog.pt"), None)),
        ("dog=/pets: mine/dog.pt", ("dog", Path("/pets: mine/dog.pt"), None)),
        ("dog#2=dog.pt:#f00", ("dog#2", Path("dog.pt"), (RED, "dog#2", 2.5))),
    ],
)
def test_subject_flags(text: str, expected: tuple[object, ...]) -> None:
    flag = parse_subject(text)
    assert (flag.phrase, flag.residual, flag.entry) == expected


@pytest.mark.parametrize("text", ["dog", "=dog.pt", "dog=", "dog=dog.pt:nocolor", ":#f00"])
def test_bad_subject_flags(text: str) -> None:
    with pytest.raises(Cones2Error):
        parse_subject(text)
