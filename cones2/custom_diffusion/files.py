"""Custom Diffusion files: reading those of the world, writing our own and theirs."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from .. import __version__
from ..errors import Cones2Error, DeltaError
from ..messages import encodable, listed, shown
from ..storage.files import is_folder, shown_path, write_atomically
from ..storage.names import check_file_name, file_name_for
from ..storage.tensor_tree import read_tree_file
from .changes import LowRank, Whole
from .compress import factored
from .delta import Delta, make_delta, token_names
from .formats import FormatName, own_entries, own_metadata, parse, stacked_vectors, weight_entries
from .layers import compvis_name, is_key_or_value, lora_name, processor_name

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
MAX_FILE_BYTES = 16 << 30
_MAX_TOKEN_BYTES = 8 << 20  # a token row may have been saved as a view of a small table, or be alone
_MAX_METADATA_BYTES = 64 << 10
_WEIGHT_FILES = ("pytorch_custom_diffusion_weights.safetensors", "pytorch_custom_diffusion_weights.bin", "delta.bin")

Target = Literal["cones2", "repository", "compvis", "diffusers", "lora"]
TARGETS: dict[Target, str] = {
    "cones2": ".safetensors",
    "repository": ".bin",
    "compvis": ".ckpt",
    "diffusers": ".safetensors",
    "lora": ".safetensors",
}
"""The formats that are written, with their files' ending."""


@dataclass(frozen=True, eq=False)
class DeltaFile:
    """A delta with how its file stores it.

    format: how the keys are written. container: format of the file.
    notes: what is missing or was left out, a sentence each.
    """

    delta: Delta
    format: FormatName
    container: Literal["safetensors", "torch.save"]
    notes: tuple[str, ...] = ()


def load_delta(path: Path | str, tokens: Sequence[Path] = ()) -> Delta:
    """A delta from a file of any of the known formats; what it lacks is logged. See `read_delta_file`."""
    file = read_delta_file(path, tokens)
    for note in file.notes:
        log.warning("%s: %s", shown_path(path), note)
    return file.delta


def read_delta_file(path: Path | str, tokens: Sequence[Path] = ()) -> DeltaFile:
    """What a Custom Diffusion file holds, or a folder that the example of diffusers wrote.

    tokens: further files with tokens alone; files "<…>.bin" beside one that has no tokens and that diffusers
    or the repository named are found.
    Nothing in the files is executed and no more memory than a few times their size is used. Raises DeltaError
    naming the file and what is wrong with it.
    """
    path = weights_file(Path(path))
    found = _read(path, MAX_FILE_BYTES)
    complete = tokens or found.delta.tokens or path.name not in _WEIGHT_FILES
    beside = [] if complete else sorted(_token_files(path.parent))
    more = [token for file in (*tokens, *beside) for token in _read(Path(file), _MAX_TOKEN_BYTES).delta.tokens]
    if not more:
        return found
    try:
        own = found.delta
        delta = make_delta(own.weights, [*own.tokens, *more], own.metadata, own.layers_per_block)
    except DeltaError as error:
        raise DeltaError(f"{shown_path(path)}: {error}") from error
    return DeltaFile(delta, found.format, found.container, tuple(note for note in found.notes if "token" not in note))


def save_delta(delta: Delta, path: Path | str, overwrite: bool = False) -> Path:
    """Write our own .safetensors file with metadata; the suffix is added where it is missing.

    Metadata: format, family, width, tokens (JSON: name, class_word), stored, layers_per_block, pack_version, then the
    delta's own. Raises DeltaError when the path names no file, the file exists (unless `overwrite`) or the disk
    refuses.
    """
    path = _named(Path(path), ".safetensors")
    metadata = own_metadata(delta, __version__)
    return _write_safetensors(path, own_entries(delta), metadata, overwrite)


def export_delta(delta: Delta, path: Path | str, target: Target, overwrite: bool = False) -> list[Path]:
    """Write a delta in another program's format: the paths of all files, weights first.

    target: "repository" (delta.bin), "compvis" (.ckpt), "diffusers" (weights, and a file per token beside them),
    "lora" (an ordinary LoRA; exact, of the rank that the differences have). Raises DeltaError where the format cannot
    hold what the delta has: differences where whole weights are needed and the other way around
    (`fit.as_whole`, `fit.as_difference`), or a token of several text encoders.
    """
    path = _named(Path(path), TARGETS[target])
    if target == "cones2":
        return [save_delta(delta, path, overwrite)]
    if target == "lora":
        return [_write_safetensors(path, lora_entries(delta), _lora_facts(delta), overwrite)]
    if target == "diffusers":
        return _export_diffusers(delta, path, overwrite)
    _write_torch(path, _repository(delta) if target == "repository" else _compvis(delta), overwrite)
    return [path]


def lora_entries(delta: Delta) -> dict[str, Tensor]:
    """The differences as an ordinary LoRA: up and down per layer, alpha equal to the rank; biases as "diff_b"."""
    entries: dict[str, Tensor] = {}
    for name, change in delta.weights.items():
        layer = lora_name(name)
        if isinstance(change, Whole):
            raise DeltaError("a LoRA holds differences: give the base model that the weights were trained from")
        if name.endswith(".bias"):
            entries[f"{layer}.diff_b"] = next(iter(change.parts().values())).contiguous()
            continue
        product = change if isinstance(change, LowRank) else factored(change.tensor)
        if product.rank:
            entries[f"{layer}.lora_up.weight"] = product.up.detach().clone().contiguous()
            entries[f"{layer}.lora_down.weight"] = product.down.detach().clone().contiguous()
            entries[f"{layer}.alpha"] = torch.tensor(float(product.rank))
    if not entries:
        raise DeltaError("a LoRA holds differences of weights, and there are none")
    return entries


def _lora_facts(delta: Delta) -> dict[str, str]:
    return {"ss_network_module": "networks.lora", "cones2_tokens": ", ".join(token_names(delta)), **delta.metadata}


def _repository(delta: Delta) -> dict[str, object]:
    tokens = {token.name: _vectors(token.vectors) for token in delta.tokens}
    _check_replaces(delta, products=True)
    return {"unet": weight_entries(delta.weights, lambda name: name), "modifier_token": tokens}


def _compvis(delta: Delta) -> dict[str, object]:
    _check_replaces(delta, products=True)
    if any(len(token.vectors) != 1 for token in delta.tokens):
        raise DeltaError("CompVis files have tokens of one text encoder, this delta's have several")
    named = Counter(compvis_name(name, delta.layers_per_block) for name in delta.weights)
    twice = [name for name, count in named.items() if count > 1]
    if twice:
        raise DeltaError(f"CompVis files would call several of its weights {shown(twice[0], 120)}")
    state = weight_entries(delta.weights, lambda name: compvis_name(name, delta.layers_per_block))
    embed = stacked_vectors(delta)
    return {"state_dict": {**state, **({} if embed is None else {"embed": embed})}}


def _export_diffusers(delta: Delta, path: Path, overwrite: bool) -> list[Path]:
    _check_replaces(delta, products=False)
    entries = {processor_name(name): change.parts()["whole"].contiguous() for name, change in delta.weights.items()}
    beside = [path.with_name(name) for name in _token_file_names(delta)]
    try:
        taken = [] if overwrite else [each for each in (path, *beside) if each.exists()]
    except OSError as error:
        raise DeltaError(f"{shown_path(path)} cannot be written: {error.strerror or error}") from error
    if taken:
        raise DeltaError(f"{shown_path(taken[0])} exists already and is left as it is")
    for token, each in zip(delta.tokens, beside, strict=True):
        _write_torch(each, {token.name: _vectors(token.vectors)}, overwrite)
    # the weights last: whoever finds them finds all of it
    return [_write_safetensors(path, entries, {"format": "pt"}, overwrite), *beside]


def _token_file_names(delta: Delta) -> list[str]:
    """What the tokens' files are called: "new1.bin" for "<new1>", as "<" is not allowed on Windows; all different."""
    names: list[str] = []
    for token in delta.tokens:
        stem = _stem(token.name)
        taken = {name.casefold() for name in names}
        stems = (stem if count == 1 else f"{stem}_{count}" for count in range(1, len(names) + 2))
        names.append(next(each for each in stems if f"{each}.bin".casefold() not in taken) + ".bin")
    return names


def _stem(token: str) -> str:
    plain = "".join(letter for letter in token if letter.isalnum() or letter in "-_") or "token"
    try:
        return check_file_name(plain, DeltaError)
    except DeltaError:  # too long, or reserved by Windows
        return file_name_for(plain)


def _check_replaces(delta: Delta, products: bool) -> None:
    """That the weights are whole, or products of keys and values where a format has those."""
    for name, change in delta.weights.items():
        if not isinstance(change, Whole) and not (products and isinstance(change, LowRank) and is_key_or_value(name)):
            raise DeltaError(
                f"the format holds whole weights and {shown(name, 120)} is a difference: "
                "give the base model that it belongs to"
            )


def _vectors(vectors: Sequence[Tensor]) -> Tensor | list[Tensor]:
    plain = [vector.detach().cpu().clone() for vector in vectors]
    return plain[0] if len(plain) == 1 else plain


def _read(path: Path, limit: int) -> DeltaFile:
    try:
        file = read_tree_file(path, limit, "Custom Diffusion file", SUFFIXES)
    except Cones2Error as error:
        raise DeltaError(str(error)) from error
    try:
        parsed = parse(file)
    except Cones2Error as error:
        raise DeltaError(f"{shown_path(path)}: {error}") from error
    return DeltaFile(parsed.delta, parsed.format, file.container, parsed.notes)


def weights_file(path: Path) -> Path:
    """The path, or the file with the weights in a folder that the example of diffusers wrote.

    Raises DeltaError for a folder without one.
    """
    return _weights_in(path) if is_folder(path) else path


def _weights_in(folder: Path) -> Path:
    try:
        for name in _WEIGHT_FILES:
            if (folder / name).is_file():
                return folder / name
        names = sorted(child.name for child in folder.iterdir() if child.suffix in SUFFIXES)
    except OSError as error:
        raise DeltaError(f"{shown_path(folder)} cannot be read: {error.strerror or error}") from error
    raise DeltaError(
        f"{shown_path(folder)} holds none of {', '.join(_WEIGHT_FILES)}: name a file; it has {listed(names)}"
    )


def _token_files(folder: Path) -> Iterator[Path]:
    """Files that diffusers' example wrote for tokens: "<new1>.bin"; one of each name."""
    seen = set()
    for path in sorted(folder.glob("<*>.*"), key=lambda path: path.suffix, reverse=True):
        if path.suffix in (".safetensors", ".bin") and path.stem not in seen:
            seen.add(path.stem)
            yield path


def _named(path: Path, suffix: str) -> Path:
    if path.name in ("", ".."):
        raise DeltaError(f'"{shown_path(path)}" is a folder: write the name of a file, such as cat{suffix}')
    return path if path.suffix == suffix else path.with_name(path.name + suffix)


def _write_safetensors(path: Path, entries: Mapping[str, Tensor], facts: Mapping[str, str], overwrite: bool) -> Path:
    metadata = {encodable(str(key)): encodable(str(value)) for key, value in facts.items()}
    if sum(len(key) + len(value) for key, value in metadata.items()) > _MAX_METADATA_BYTES:
        raise DeltaError(f"{shown_path(path)}: its metadata is larger than {_MAX_METADATA_BYTES:,} bytes")
    _write(path, lambda stream: stream.write(serialize(dict(entries), metadata)), overwrite)
    return path


def _write_torch(path: Path, value: object, overwrite: bool) -> None:
    content = io.BytesIO()  # in memory: torch.save calls a full disk a RuntimeError
    torch.save(value, content)
    _write(path, lambda stream: stream.write(content.getbuffer()), overwrite)


def _write(path: Path, write: Callable[[BinaryIO], Any], overwrite: bool) -> None:
    try:
        write_atomically(path, write, overwrite)
    except Cones2Error as error:
        raise DeltaError(str(error)) from error
