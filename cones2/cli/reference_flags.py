"""The flags of `sample` for subjects from pictures, without torch."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..messages import shown
from ..ranges import REFERENCE_EDGE, REFERENCE_OUTSIDE, REFERENCE_SCALE, REFERENCE_STRENGTH
from .arguments import file_path, number_in, with_strength


class ReferenceFlag(NamedTuple):
    """`--reference "PHRASE=FILE,FILE@STRENGTH"`."""

    phrase: str
    paths: tuple[Path, ...]
    strength: float = 1.0


class ReferenceOptions(NamedTuple):
    """Subjects from pictures, and the models that read them.

    scale: factor on all that pictures add; None: the adapter's own.
    edge, outside: how a layout bounds them (see `cones2.picture_adapter.shares`).
    """

    flags: tuple[ReferenceFlag, ...]
    adapter: Path
    image_encoder: Path
    scale: float | None
    edge: float
    outside: float

    @property
    def files(self) -> list[Path]:
        """All pictures, and the adapter."""
        return [*(path for flag in self.flags for path in flag.paths), self.adapter]

    def record(self) -> dict[str, Any]:
        """What a PNG says about them."""
        return {
            "references": [[flag.phrase, [str(path) for path in flag.paths], flag.strength] for flag in self.flags],
            "adapter": str(self.adapter),
            "image_encoder": str(self.image_encoder),
            "reference_scale": self.scale,
            "reference_edge": self.edge,
            "reference_outside": self.outside,
        }


def add_reference_flags(group: Any) -> None:
    """Add them to a parser's group."""
    group.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="PHRASE=FILE,FILE@STRENGTH",
        help="a subject from pictures, without training: words of the prompt, one picture or several of it (cut out, "
        'or on a plain background), its strength (1), e.g. "cat=a.jpg,b.jpg"; give it once per subject',
    )
    group.add_argument(
        "--adapter", type=file_path, metavar="FILE", help="an IP-Adapter or MIP-Adapter (.bin, .safetensors)"
    )
    group.add_argument(
        "--image-encoder", type=file_path, metavar="DIR", help="the CLIP image encoder that the adapter was made with"
    )
    group.add_argument(
        "--reference-scale",
        type=number_in(REFERENCE_SCALE),
        metavar="S",
        help="how strongly pictures count (default: 0.75, with a plus adapter 0.65)",
    )
    group.add_argument(
        "--reference-edge",
        type=number_in(REFERENCE_EDGE),
        default=0.0,
        metavar="E",
        help="with a layout: soft border of each subject's pictures, as a share of the picture's shorter side "
        "(default: 0, hard)",
    )
    group.add_argument(
        "--reference-outside",
        type=number_in(REFERENCE_OUTSIDE),
        default=0.0,
        metavar="R",
        help="with a layout: how much a subject's pictures count outside its region, 0 to 1 (default: 0)",
    )


def reference_options(args: argparse.Namespace) -> ReferenceOptions | None:
    """The flags as typed values; None without any. Raises ConfigError for flags that lack others."""
    given = {"--reference": args.reference, "--adapter": args.adapter, "--image-encoder": args.image_encoder}
    if not any(given.values()):
        return None
    lacking = [name for name, value in given.items() if not value]
    if lacking:
        there = " and ".join(name for name, value in given.items() if value)
        raise ConfigError(f"{there} needs {' and '.join(lacking)} too")
    return ReferenceOptions(
        tuple(_parse(text) for text in args.reference),
        args.adapter,
        args.image_encoder,
        args.reference_scale,
        args.reference_edge,
        args.reference_outside,
    )


def _parse(text: str) -> ReferenceFlag:
    """Read "cat=a.jpg,b.jpg@0.8". Raises ConfigError for a missing phrase or file, or a strength out of range."""
    phrase, equals, files = text.partition("=")
    if not equals or not phrase.strip() or not files.strip():
        raise ConfigError(f'--reference "{shown(text)}" is not PHRASE=FILE: write "cat=a.jpg,b.jpg"')
    files, strength = with_strength(files)
    if strength not in REFERENCE_STRENGTH:
        raise ConfigError(
            f'--reference "{shown(text)}" has the strength {strength:g}: it must be a number from {REFERENCE_STRENGTH}'
        )
    # not Path.exists: it raises for a list that is too long to be one name
    names = [files] if os.path.exists(files) else [name for name in files.split(",") if name.strip()]
    if not names:
        raise ConfigError(f'--reference "{shown(text)}" names no file: write "cat=a.jpg,b.jpg"')
    return ReferenceFlag(phrase.strip(), tuple(file_path(name) for name in names), strength)
