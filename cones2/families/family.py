"""The model families: one table of what differs between them.

What differs between the diffusion transformers was read in ComfyUI 0.33; where their text and picture stand in an
attention call is in the host's table, `nodes/host/attention/places.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from ..sampling.noise import Prediction

AttentionKind = Literal["cross", "joint"]
"""How image positions attend to text. "cross": layers of their own, from image to text alone. "joint": text and image
are one sequence, and everything attends to everything."""

NoisePrediction = Literal[Prediction, "flow"]
"""What a denoiser predicts; "flow": the velocity of flow matching, noise minus latents."""

Rows = Literal["beside", "behind", "pooled", "adapted"]
"""How an encoder's output stands in the conditioning. "beside": its columns beside those of the encoders before it,
token by token. "behind": its tokens after theirs. "pooled": as one vector, without its tokens. "adapted": not at all,
but the model itself turns the conditioning into one row for each of its tokens."""

Spelling = Literal["clip", "bytes", "sentences"]
"""How a vocabulary writes its tokens. "clip": lower-case words, which have the same tokens wherever they stand.
"bytes": byte-level pieces (Qwen, Mistral). "sentences": SentencePiece (T5, Gemma)."""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family.

    key: what ComfyUI calls it among a CLIP's encoders.
    width: columns of its token embeddings, and of each hidden layer that is read.
    layer: the hidden layer that is read, counted from the end of the whole encoder; -1 is the last.
    layers: how many layers stand side by side; `layer` is the last of them.
    rows: how its output stands in the conditioning. spelling: how its vocabulary writes tokens.
    """

    key: str
    width: int
    layer: int = -1
    layers: int = 1
    rows: Rows = "beside"
    spelling: Spelling = "clip"

    @property
    def columns(self) -> int:
        """Columns that it has in the conditioning."""
        return self.width * self.layers if self.rows == "beside" else 0

    @property
    def label(self) -> str:
        """The encoder and what of it is read: "t5xxl", "h:-2", "qwen3_4b:-10x3" for three layers."""
        layer = f":{self.layer}" if self.layer != -1 else ""
        return f"{self.key}{layer}x{self.layers}" if self.layers > 1 else f"{self.key}{layer}"


class TokenRows(NamedTuple):
    """Rows of a conditioning, one for each token of a prompt.

    encoder: what they come from, as residual files name it: a text encoder's label, or those of encoders side by side
    ("l:-2+g:-2"). width: their columns; a conditioning that other rows make wider is filled with zeros.
    """

    encoder: str
    width: int


@dataclass(frozen=True)
class ModelFamily:
    """Models that read the same text conditioning.

    key: how files name it.
    label: how people name it.
    encoders: in the order of their outputs.
    predictions: what its base models predict.
    sides: in pixels, of the square pictures that the models of each prediction were made for.
    """

    key: str
    label: str
    encoders: tuple[TextEncoder, ...]
    predictions: tuple[NoisePrediction, ...]
    sides: tuple[int, ...]
    attention: AttentionKind = "cross"

    @property
    def width(self) -> int:
        """Columns d of the conditioning."""
        behind = [encoder.width for encoder in self.encoders if encoder.rows == "behind"]
        return max([sum(encoder.columns for encoder in self.encoders), *behind])

    @property
    def is_told_by_width(self) -> bool:
        """Whether the width of a residual alone names it, as among Stable Diffusion and its kin."""
        return "flow" not in self.predictions

    @property
    def token_rows(self) -> tuple[TokenRows, ...]:
        """The rows that residuals can be added to; none where the model makes rows of its own from the conditioning."""
        rows = (self.rows_of(encoder) for encoder in self.named_encoders)
        return tuple(each for each in rows if each is not None)

    def rows_of(self, encoder: TextEncoder) -> TokenRows | None:
        """The rows of one of its `named_encoders`; None for those that the model makes itself."""
        if encoder.rows == "adapted":
            return None
        if encoder.rows == "behind":
            return TokenRows(encoder.label, encoder.width)
        beside = [part for part in self.encoders if part.rows == "beside"]
        return TokenRows("+".join(part.label for part in beside), sum(part.columns for part in beside))

    @property
    def named_encoders(self) -> tuple[TextEncoder, ...]:
        """The encoders whose tokens are rows of what the model reads: where its words can be found.

        Of encoders side by side the first; the others have the same words at the same tokens.
        """
        adapted = tuple(encoder for encoder in self.encoders if encoder.rows == "adapted")
        beside = tuple(encoder for encoder in self.encoders if encoder.rows == "beside")[:1]
        return adapted or beside + tuple(encoder for encoder in self.encoders if encoder.rows == "behind")

    def side(self, prediction: NoisePrediction) -> int:
        """Side in pixels of the square pictures that a model of this prediction was made for."""
        return dict(zip(self.predictions, self.sides, strict=True)).get(prediction, self.sides[0])

    @property
    def layer(self) -> int:
        """The hidden layer that all its encoders are read from."""
        return self.encoders[0].layer


def _flow(key: str, label: str, attention: AttentionKind, *encoders: TextEncoder) -> ModelFamily:
    return ModelFamily(key, label, encoders, ("flow",), (1024,), attention)


def _qwen(key: str, width: int, layers: int = 1, layer: int = -1) -> TextEncoder:
    return TextEncoder(key, width, layer, layers, spelling="bytes")


_T5 = TextEncoder("t5xxl", 4096, spelling="sentences")
_CLIP_L, _CLIP_G = TextEncoder("l", 768, -2), TextEncoder("g", 1280, -2)

FAMILIES = (
    ModelFamily("sd1", "SD 1.x", (TextEncoder("l", 768),), ("epsilon",), (512,)),
    ModelFamily("sd2", "SD 2.x", (TextEncoder("h", 1024, -2),), ("epsilon", "v_prediction"), (512, 768)),
    ModelFamily("sdxl", "SDXL", (_CLIP_L, _CLIP_G), ("epsilon",), (1024,)),
    ModelFamily("toyworld", "the demo model", (TextEncoder("l", 128),), ("v_prediction",), (64,)),
    _flow("flux1", "Flux.1", "joint", TextEncoder("l", 768, rows="pooled"), _T5),
    _flow("flux2", "Flux.2", "joint", _qwen("mistral3_24b", 5120, 3, -11)),
    _flow("klein4b", "Flux.2 Klein 4B", "joint", _qwen("qwen3_4b", 2560, 3, -10)),
    _flow("klein9b", "Flux.2 Klein 9B", "joint", _qwen("qwen3_8b", 4096, 3, -10)),
    _flow("chroma", "Chroma", "joint", _T5),
    _flow("qwen_image", "Qwen-Image", "joint", _qwen("qwen25_7b", 3584)),
    _flow("z_image", "Z-Image", "joint", _qwen("qwen3_4b", 2560, layer=-2)),
    _flow("lumina2", "Lumina 2", "joint", TextEncoder("gemma2_2b", 2304, -2, spelling="sentences")),
    _flow("sd3", "SD 3.5", "joint", _CLIP_L, _CLIP_G, replace(_T5, rows="behind")),
    _flow("krea2", "Krea 2", "joint", _qwen("qwen3vl_4b", 2560, 12, -2)),
    _flow("anima", "Anima", "cross", _qwen("qwen3_06b", 1024), replace(_T5, rows="adapted")),
    _flow("wan", "Wan", "cross", TextEncoder("umt5xxl", 4096, spelling="sentences")),
    _flow("cosmos", "Cosmos-Predict2", "cross", TextEncoder("t5xxl", 1024, spelling="sentences")),
)


def family_of_width(width: int) -> ModelFamily | None:
    """The family of Stable Diffusion's kin whose residuals are `width` wide; None for any other width."""
    return next((family for family in FAMILIES if family.is_told_by_width and family.width == width), None)


def family_of_key(key: str) -> ModelFamily | None:
    """The family that files name so; None for an unknown name."""
    return next((family for family in FAMILIES if family.key == key), None)


def family_of_rows(rows: TokenRows, key: str = "") -> ModelFamily | None:
    """The family with such rows; of several with the same text encoder the one of this key, else the first."""
    found = [family for family in FAMILIES if rows in family.token_rows]
    return next((family for family in found if family.key == key), found[0] if found else None)


def encoders_of_width(width: int) -> list[str]:
    """The text encoders that give rows of this width, as residual files name them."""
    rows = [rows for family in FAMILIES for rows in family.token_rows]
    return list(dict.fromkeys(each.encoder for each in rows if each.width == width))


def family_of_encoders(widths: Mapping[str, int], columns: int | None = None) -> ModelFamily | None:
    """The family with text encoders of these keys and token widths; None for any others.

    columns: of the conditioning, which tells families apart that read different layers of the same encoder.
    """
    same = [family for family in FAMILIES if {part.key: part.width for part in family.encoders} == dict(widths)]
    return next((family for family in same if family.width == columns), same[0] if same else None)


def known_families() -> str:
    """The families by name, as messages list them."""
    return ", ".join(family.label for family in FAMILIES if family.key != "toyworld")


def width_label(width: int) -> str:
    """A width as messages show it: "1024 wide (SD 2.x)"."""
    family = family_of_width(width)
    return f"{width} wide ({family.label})" if family else f"{width} wide (no known family)"
