"""Model families and the width of their text conditioning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFamily:
    """key: how files name it. label: how people name it. width: columns d of the conditioning."""

    key: str
    label: str
    width: int


FAMILIES = (
    ModelFamily("sd1", "SD 1.x", 768),
    ModelFamily("sd2", "SD 2.x", 1024),
    ModelFamily("sdxl", "SDXL", 2048),
    ModelFamily("toyworld", "the demo model", 128),
)


def family_of_width(width: int) -> ModelFamily | None:
    """The family whose conditioning is `width` wide; None for any other width."""
    return next((family for family in FAMILIES if family.width == width), None)


def width_label(width: int) -> str:
    """A width as messages show it: "1024 wide (SD 2.x)"."""
    family = family_of_width(width)
    return f"{width} wide ({family.label})" if family else f"{width} wide (no known family)"
