"""Residual embeddings: what makes a class word one specific subject (Cones 2, section 3.1)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import safetensors
import torch
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as serialize
from torch import Tensor

from .. import __version__
from ..errors import Cones2Error, ResidualError
from ..families.family import family_of_width, width_label
from ..prompt.claims import PhraseRef
from ..prompt.tokens import Span
from ..storage.files import read_limited, write_atomically
from ..storage.torch_pickle import load_pickled_tensor

log = logging.getLogger(__name__)

FORMAT = "cones2-residual-1"
TENSOR_KEY = "residual"
MAX_TOKENS = 75
MAX_WIDTH = 8192
MAX_FILE_BYTES = 4 << 20  # 75 rows of the widest encoder fit several times
SUFFIXES = (".safetensors", ".pt", ".bin")
_MAX_METADATA_BYTES = 8 << 10
_MAX_SUBJECT = 200
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_TEXTUAL_INVERSION_KEYS = {"clip_l", "clip_g", "emb_params", "string_to_param"}


@dataclass(frozen=True, eq=False)
class Residual:
    """A subject: its phrase and the vectors added to the conditioning at the phrase's tokens.

    tensor: [token_num, d] float32 on the CPU. family: "sd1", "sd2", "sdxl" or "" when unknown.
    metadata: further facts from the file (method, steps, base model …). strength: factor on the
    tensor, 1.0 as learned.
    """

    subject: str
    tensor: Tensor
    family: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    strength: float = 1.0
    occurrence: int | None = None

    @property
    def reference(self) -> PhraseRef:
        """Which occurrences of the phrase it is for."""
        return PhraseRef(self.subject, self.occurrence)

    @property
    def token_num(self) -> int:
        """Number of tokens the residual covers."""
        return int(self.tensor.shape[0])

    @property
    def width(self) -> int:
        """Columns d of the conditioning it fits."""
        return int(self.tensor.shape[1])

    def with_subject(self, reference: PhraseRef) -> Residual:
        """The same vectors for another phrase, or another of its occurrences."""
        return replace(self, subject=reference.phrase, occurrence=reference.occurrence)

    def with_strength(self, strength: float) -> Residual:
        """The same vectors with another factor."""
        return replace(self, strength=strength)


class PlacedResidual(NamedTuple):
    """A residual at the tokens of a prompt: row i goes to the i-th token of each span."""

    residual: Residual
    spans: Sequence[Span]


@dataclass(frozen=True, eq=False)
class ResidualFile:
    """A residual with how its file stores it: the container and the type of the numbers."""

    residual: Residual
    container: Literal["safetensors", "torch.save"]
    dtype: torch.dtype


def make_residual(subject: str, tensor: Tensor, metadata: Mapping[str, str] | None = None) -> Residual:
    """A residual from a tensor [token_num, d] or [d] of any float type, checked.

    Raises ResidualError for another rank or type, too many tokens, or values that are not finite.
    """
    phrase = " ".join(subject.split())
    if not phrase:
        raise ResidualError("a residual needs a subject phrase, such as the class word it was trained on")
    if len(phrase) > _MAX_SUBJECT or not phrase.isprintable():
        raise ResidualError(f"its subject phrase is not printable text of at most {_MAX_SUBJECT} characters")
    tensor = _checked(tensor)
    family = family_of_width(tensor.shape[1])
    return Residual(phrase, tensor, family.key if family else "", dict(metadata or {}))


def load_residual(path: Path | str, subject: str | None = None) -> Residual:
    """A residual from a .safetensors file or a bare tensor saved by torch.save.

    subject: the phrase to use instead of the file's own; files without one take their name.
    Nothing in the file is executed and no more memory than its size is used. Raises ResidualError
    naming the file and what is wrong with it.
    """
    return read_residual_file(path, subject).residual


def read_residual_file(path: Path | str, subject: str | None = None) -> ResidualFile:
    """Like load_residual, with the file's container and dtype."""
    path = Path(path)
    try:
        content = read_limited(path, MAX_FILE_BYTES, "residual", SUFFIXES)
    except Cones2Error as error:
        raise ResidualError(str(error)) from error
    container: Literal["safetensors", "torch.save"] = "torch.save" if _is_pickled(content) else "safetensors"
    try:
        tensor, metadata = _parse(content)
        phrase = subject or metadata.pop("subject", "") or path.stem.replace("_", " ")
        residual = make_residual(phrase, tensor, metadata)
    except ResidualError as error:
        raise ResidualError(f"{path}: {error}") from error
    _warn_if_mislabeled(path, residual)
    return ResidualFile(residual, container, tensor.dtype)


def save_residual(residual: Residual, path: Path | str, overwrite: bool = False) -> Path:
    """Write a .safetensors file with metadata; the suffix is added where it is missing.

    Metadata: format, subject, family, width, token_num, pack_version, then the residual's own; the
    strength is multiplied into the vectors. Raises ResidualError when the file exists (unless
    `overwrite`), the metadata is too long, or the disk refuses.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    facts = {
        "format": FORMAT,
        "subject": residual.subject,
        "family": residual.family,
        "width": str(residual.width),
        "token_num": str(residual.token_num),
        "pack_version": __version__,
    }
    metadata = {**{str(key): str(value) for key, value in residual.metadata.items()}, **facts}
    try:
        tensor = _checked(residual.tensor * residual.strength)
        serialized = serialize({TENSOR_KEY: tensor}, metadata)
        if len(serialized) - tensor.nbytes > _MAX_METADATA_BYTES:
            raise ResidualError(f"its metadata is larger than {_MAX_METADATA_BYTES:,} bytes")
    except ResidualError as error:
        raise ResidualError(f"{path}: {error}") from error
    try:
        write_atomically(path, lambda stream: stream.write(serialized), overwrite)
    except Cones2Error as error:
        raise ResidualError(str(error)) from error
    return path


def check_width(residual: Residual, width: int) -> None:
    """Raise ResidualError when the residual does not fit a model whose conditioning is `width` wide."""
    if residual.width != width:
        raise ResidualError(
            f'the residual "{residual.subject}" is {width_label(residual.width)} '
            f"but this model's text conditioning is {width_label(width)}"
        )


def add_residuals(embeds: Tensor, placements: Sequence[PlacedResidual]) -> Tensor:
    """A copy of the conditioning with each residual added at its tokens (equation 2).

    embeds: [..., L, d]. Computed in float32.
    Raises ResidualError when a residual has more rows than the phrase has tokens, another width,
    or a token lies outside the conditioning.
    """
    result = embeds.float()
    result = result.clone() if result is embeds else result
    for residual, spans in placements:
        check_width(residual, embeds.shape[-1])
        vectors = (residual.tensor * residual.strength).to(result.device)
        for span in spans:
            _check_span(residual, span, embeds.shape[-2])
            for vector, index in zip(vectors, span, strict=False):
                result[..., index, :] += vector
    return result.to(embeds.dtype)


def _check_span(residual: Residual, span: Span, length: int) -> None:
    if residual.token_num > len(span):
        raise ResidualError(
            f'the residual "{residual.subject}" covers {residual.token_num} tokens '
            f"but its phrase has only {len(span)} in this prompt"
        )
    if any(not 0 <= index < length for index in span):
        raise ResidualError(f'"{residual.subject}" is at tokens {list(span)} of a conditioning of {length} tokens')


def _is_pickled(content: bytes) -> bool:
    # a safetensors file starts with the length of its header, whose bytes may look like a pickle's
    header_fits = int.from_bytes(content[:8], "little") <= len(content) - 8
    if header_fits and content[8:9] == b"{":
        return False
    return content[:2] == b"PK" or content[:1] == b"\x80"


def _parse(content: bytes) -> tuple[Tensor, dict[str, str]]:
    if not content:
        raise ResidualError("the file is empty")
    if _is_pickled(content):
        return load_pickled_tensor(content), {}
    return _parse_safetensors(content)


def _parse_safetensors(content: bytes) -> tuple[Tensor, dict[str, str]]:
    try:
        # checks every claimed shape and range against the file's size before it allocates
        tensors = parse_safetensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = dict(header.get("__metadata__") or {})
    except (safetensors.SafetensorError, AttributeError, KeyError, RecursionError, RuntimeError, ValueError) as error:
        raise ResidualError("it is neither a whole safetensors file nor a tensor saved by torch.save") from error
    return _chosen(tensors), metadata


def _chosen(tensors: Mapping[str, Tensor]) -> Tensor:
    names = ", ".join(sorted(tensors)[:8]) or "none"
    if TENSOR_KEY in tensors:
        return tensors[TENSOR_KEY]
    if _TEXTUAL_INVERSION_KEYS & set(tensors):
        raise ResidualError(f"it is a textual-inversion embedding (keys {names}), not a residual")
    candidates = [tensor for tensor in tensors.values() if tensor.ndim == 2] or list(tensors.values())
    if len(candidates) == 1:
        return candidates[0]
    raise ResidualError(f'it has no tensor named "{TENSOR_KEY}"; its tensors are: {names}')


def _checked(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.dtype not in _DTYPES:
        raise ResidualError(
            f"its tensor holds {str(tensor.dtype).removeprefix('torch.')} numbers, expected floating point"
        )
    if tensor.ndim not in (1, 2):
        raise ResidualError(f"its tensor has shape {tuple(tensor.shape)}, expected (tokens, width)")
    tokens, width = (1, tensor.shape[0]) if tensor.ndim == 1 else tensor.shape
    if not (1 <= tokens <= MAX_TOKENS and 1 <= width <= MAX_WIDTH):
        raise ResidualError(
            f"its tensor has shape {tuple(tensor.shape)}, expected 1–{MAX_TOKENS} tokens by 1–{MAX_WIDTH} columns"
        )
    plain = tensor.detach().to("cpu", torch.float32).reshape(tokens, width).clone().contiguous()
    if not torch.isfinite(plain).all():
        raise ResidualError("its tensor holds values that are not numbers (NaN or infinity)")
    return plain


def _warn_if_mislabeled(path: Path, residual: Residual) -> None:
    claimed = residual.metadata.get("family")
    if claimed and residual.family and claimed != residual.family:
        log.warning("%s says it is for %r but is %s", path, claimed, width_label(residual.width))
