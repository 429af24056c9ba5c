"""Residual files: reading those of the world, writing our own."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from .. import __version__
from ..errors import Cones2Error, ResidualError
from ..families.family import family_of_key
from ..messages import encodable, shown
from ..storage.files import read_limited, shown_path, write_atomically
from ..storage.tensors import TensorFile, parse_tensors
from .cutout import CutOut
from .cutout_text import CUTOUTS_KEY, read_cutouts, write_cutouts
from .residual import ENCODER_KEY, FAMILY_KEY, Residual, make_residual, plain_vectors

log = logging.getLogger(__name__)

FORMAT = "cones2-residual-1"
TENSOR_KEY = "residual"
MAX_FILE_BYTES = 16 << 20  # 75 rows of the widest encoder fit
SUFFIXES = (".safetensors", ".pt", ".bin")
_MAX_METADATA_BYTES = 8 << 10
_TEXTUAL_INVERSION_KEYS = {"clip_l", "clip_g", "emb_params", "string_to_param"}


@dataclass(frozen=True, eq=False)
class ResidualFile:
    """A residual with how its file stores it.

    container: format of the file.
    dtype: type of its numbers.
    """

    residual: Residual
    container: Literal["safetensors", "torch.save"]
    dtype: torch.dtype


def load_residual(path: Path | str, subject: str | None = None) -> Residual:
    """A residual from a .safetensors file or a bare tensor saved by torch.save.

    subject: the phrase to use instead of the file's own; files without one take their name.
    Nothing in the file is executed and no more memory than a few times its size is used. Raises
    ResidualError naming the file and what is wrong with it.
    """
    return read_residual_file(path, subject).residual


def read_residual_file(path: Path | str, subject: str | None = None) -> ResidualFile:
    """As `load_residual`, with the file's container and dtype."""
    path = Path(path)
    try:
        content = read_limited(path, MAX_FILE_BYTES, "residual", SUFFIXES)
    except Cones2Error as error:
        raise ResidualError(str(error)) from error
    return parse_residual_file(content, path, subject)


def parse_residual_file(content: bytes, path: Path, subject: str | None = None) -> ResidualFile:
    """As `read_residual_file`, of a file's content, which need not be on the disk; messages name `path`."""
    try:
        file = parse_tensors(content)
        tensor = _residual_tensor(file)
        metadata = dict(file.metadata)
        phrase = subject or metadata.pop("subject", "")
        cutouts = metadata.pop(CUTOUTS_KEY, "")
        residual = make_residual(phrase or path.stem.replace("_", " "), tensor, metadata)
        residual = replace(residual, named_by_file=not phrase)
    except Cones2Error as error:
        raise ResidualError(f"{shown_path(path)}: {error}") from error
    residual = residual.with_cutouts(_cutouts(cutouts, path))
    claimed = metadata.get(FAMILY_KEY)
    family = family_of_key(residual.family)
    if claimed and family and claimed != family.key:
        found = f"{residual.width} wide ({family.label})"
        log.warning('%s says it is for "%s" but is %s', shown_path(path), shown(claimed), found)
    return ResidualFile(residual, file.container, tensor.dtype)


def save_residual(residual: Residual, path: Path | str, overwrite: bool = False) -> Path:
    """Write a .safetensors file with metadata; the suffix is added where it is missing.

    Metadata: format, subject, family, encoder, width, token_num, pack_version, then the residual's own and its
    cut-outs; the strength is multiplied into the vectors. Raises ResidualError when the path names no file,
    the file exists (unless `overwrite`), the metadata is too long, or the disk refuses.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise ResidualError(f'"{shown_path(path)}" is a folder: write the name of a file, such as rex.safetensors')
    if path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    facts = {
        "format": FORMAT,
        "subject": residual.label,
        FAMILY_KEY: residual.family,
        ENCODER_KEY: residual.encoder,
        "width": str(residual.width),
        "token_num": str(residual.token_num),
        "pack_version": __version__,
    }
    metadata = {encodable(str(key)): encodable(str(value)) for key, value in {**residual.metadata, **facts}.items()}
    try:
        tensor = plain_vectors(residual.tensor * residual.strength)
        serialized = serialize({TENSOR_KEY: tensor}, metadata)
        if len(serialized) - tensor.nbytes > _MAX_METADATA_BYTES:
            raise ResidualError(f"its metadata is larger than {_MAX_METADATA_BYTES:,} bytes")
        if residual.cutouts:
            serialized = serialize({TENSOR_KEY: tensor}, {**metadata, CUTOUTS_KEY: write_cutouts(residual.cutouts)})
    except Cones2Error as error:
        raise ResidualError(f"{shown_path(path)}: {error}") from error
    try:
        write_atomically(path, lambda stream: stream.write(serialized), overwrite)
    except Cones2Error as error:
        raise ResidualError(str(error)) from error
    return path


def _cutouts(text: str, path: Path) -> tuple[CutOut, ...]:
    """The cut-outs of a file's text; none, with a warning, where they cannot be used: the vectors need none."""
    try:
        return read_cutouts(text) if text else ()
    except Cones2Error as error:
        log.warning("%s: its cut-outs are left out: %s", shown_path(path), error)
        return ()


def _residual_tensor(file: TensorFile) -> Tensor:
    """The tensor named "residual", else the only matrix, else the only tensor."""
    if TENSOR_KEY in file.tensors:
        return file.tensors[TENSOR_KEY]
    if _TEXTUAL_INVERSION_KEYS & set(file.names) or any(name.startswith("<") for name in file.names):
        raise ResidualError(f"it is a textual-inversion embedding (keys {file.listed_names}), not a residual")
    if file.container == "torch.save" and not file.tensors:
        raise ResidualError(f"it holds a dictionary (keys {file.listed_names}), expected a bare tensor")
    candidates = [tensor for tensor in file.tensors.values() if tensor.ndim == 2] or list(file.tensors.values())
    if len(candidates) == 1:
        return candidates[0]
    raise ResidualError(f'it has no tensor named "{TENSOR_KEY}"; its tensors are: {file.listed_names}')
