"""The model families: one table of what differs between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..sampling.noise import Prediction

AttentionKind = Literal["cross"]
"""How image positions attend to text. "cross": layers of their own, from image to text alone."""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family.

    key: what ComfyUI calls it among a CLIP's encoders.
    width: columns of its output.
    layer: the hidden layer that is read, counted from the end of the whole encoder; -1 is the last.
    """

    key: str
    width: int
    layer: int


@dataclass(frozen=True)
class ModelFamily:
    """Models that read the same text conditioning.

    key: how files name it.
    label: how people name it.
    encoders: their outputs stand side by side, in this order.
    predictions: what its base models predict.
    sides: in pixels, of the square pictures that the models of each prediction were made for.
    """

    key: str
    label: str
    encoders: tuple[TextEncoder, ...]
    predictions: tuple[Prediction, ...]
    sides: tuple[int, ...]
    attention: AttentionKind = "cross"

    @property
    def width(self) -> int:
        """Columns d of the conditioning."""
        return sum(encoder.width for encoder in self.encoders)

    def side(self, prediction: Prediction) -> int:
        """Side in pixels of the square pictures that a model of this prediction was made for."""
        return dict(zip(self.predictions, self.sides, strict=True)).get(prediction, self.sides[0])

    @property
    def layer(self) -> int:
        """The hidden layer that all its encoders are read from."""
        return self.encoders[0].layer


FAMILIES = (
    ModelFamily("sd1", "SD 1.x", (TextEncoder("l", 768, -1),), ("epsilon",), (512,)),
    ModelFamily("sd2", "SD 2.x", (TextEncoder("h", 1024, -2),), ("epsilon", "v_prediction"), (512, 768)),
    ModelFamily("sdxl", "SDXL", (TextEncoder("l", 768, -2), TextEncoder("g", 1280, -2)), ("epsilon",), (1024,)),
    ModelFamily("toyworld", "the demo model", (TextEncoder("l", 128, -1),), ("v_prediction",), (64,)),
)


def family_of_width(width: int) -> ModelFamily | None:
    """The family whose conditioning is `width` wide; None for any other width."""
    return next((family for family in FAMILIES if family.width == width), None)


def family_of_encoders(widths: Mapping[str, int]) -> ModelFamily | None:
    """The family with text encoders of these keys and widths; None for any others."""
    return next(
        (family for family in FAMILIES if {part.key: part.width for part in family.encoders} == dict(widths)), None
    )


def width_label(width: int) -> str:
    """A width as messages show it: "1024 wide (SD 2.x)"."""
    family = family_of_width(width)
    return f"{width} wide ({family.label})" if family else f"{width} wide (no known family)"
