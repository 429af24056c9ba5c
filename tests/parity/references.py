"""Reference folders: cases (JSON beside safetensors), layouts, residuals, noise and token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

_CASE = re.compile(r"G([1-5])[a-z]*_.+\.json")


class ParityError(Exception):
    """A case cannot be run: says what is missing and where it was looked for."""


@dataclass(frozen=True)
class Case:
    """One reference case. kind: "G1" … "G5"."""

    path: Path
    kind: str

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def data(self) -> dict[str, Any]:
        data = json.loads(self.path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ParityError(f"{self.path.name} does not hold a JSON object")
        return data

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """What the case recorded; raises ParityError when the file, or a tensor that the case lists, is missing."""
        path = self.path.with_suffix(".safetensors")
        if not path.is_file():
            raise ParityError(f"there is no {path.name} beside {self.path.name}")
        tensors = load_file(path)
        missing = [name for name in self.data.get("tensors", ()) if name not in tensors]
        if missing:
            raise ParityError(f"{path.name} lacks {', '.join(missing)}")
        return tensors


@dataclass(frozen=True)
class References:
    """Folders searched in order: the one whose cases run, then the one that supplies what it lacks.

    tokenizer: finds a CLIP tokenizer for prompts whose token ids no case holds, or None.
    """

    roots: Sequence[Path]
    tokenizer: Callable[[], Any] = lambda: None
    _residuals: dict[str, Tensor] = field(default_factory=dict)

    def cases(self) -> list[Case]:
        """Cases of the first folder, in order of kind and name."""
        return sorted(_cases(self.roots[0]), key=lambda case: (case.kind, case.name))

    def find(self, name: str, beside: Path | None = None) -> Path:
        """The file that a case calls `name`: relative to a folder (without "public/"), or by its bare name."""
        relative = name.removeprefix("public/")
        candidates = [root / relative for root in self.roots]
        if beside is not None:
            candidates.insert(0, beside / Path(relative).name)
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        for root in self.roots:
            for found in sorted(root.rglob(Path(relative).name)):
                return found
        raise ParityError(f"there is no {relative} in {self._places()}")

    def layout(self, case: Case) -> Image.Image | None:
        """The case's layout in the size the published code used, or None when it has no layout."""
        name = case.data.get("layout")
        if not name:
            return None
        size = layout_size(case.data)
        with Image.open(self._layout_file(name, case, size)) as picture:
            picture.load()
        return picture if size is None or picture.size == size else picture.resize(size)

    def _layout_file(self, name: str, case: Case, size: tuple[int, int] | None) -> Path:
        """The picture in the recorded size where it is at hand: versions of Pillow resize a little differently."""
        stem = Path(name).stem.removeprefix("layout_")
        resized = (f"layouts/{stem}.resized{size[0]}x{size[1]}.png",) if size else ()
        for candidate in (*resized, name, f"layouts/{stem}.resized768.png"):
            try:
                return self.find(candidate, case.path.parent)
            except ParityError:
                continue
        raise ParityError(f"there is neither {name} nor layouts/{stem}.resized768.png in {self._places()}")

    def residual(self, name: str) -> Tensor:
        """A subject's residual [token_num, d] by the name in `residual_dict`, "dog.pt"."""
        if not self._residuals:
            for root in reversed(self.roots):
                for path in sorted(root.glob("residuals/*.safetensors")):
                    self._residuals.update(load_file(path))
        key = Path(name).name.removesuffix(".pt").removesuffix(".safetensors")
        if key not in self._residuals:
            present = ", ".join(sorted(self._residuals)) or "none"
            raise ParityError(f'there is no residual "{key}" in {self._places()} (there are: {present})')
        return self._residuals[key]

    def prompt_ids(self, case: Case) -> list[int]:
        """Ids of the prompt's own tokens, from the case, from one with the same prompt, or tokenized."""
        if "token_ids" in case.data:
            return content_ids(case.data["token_ids"], self.special_ids)
        for other in self._tokenized:
            same_code = other["code"] == case.data["code"] or other["code"] == "cones2"
            if other["prompt"] == case.data["prompt"] and same_code:
                return content_ids(other["token_ids"], self.special_ids)
        return self._tokenize(case.data["prompt"], "prompt")

    def phrase_ids(self, case: Case, phrase: str) -> list[int]:
        """Ids of a subject phrase, from any case that has it, or tokenized."""
        for data in (case.data, *self._tokenized):
            for subject in data.get("subjects", ()):
                if subject["subject"] == phrase:
                    return [int(id) for id in subject["token_ids"]]
        return self._tokenize(phrase, "subject")

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Ids of the start, end and pad tokens ("bos", "eos", "pad")."""
        try:
            info = json.loads(self.find("models/tokenizer_info.json").read_text())
        except ParityError:
            return {"bos": 49406, "eos": 49407, "pad": 0}
        return {"bos": info["bos_id"], "eos": info["eos_id"], "pad": info["pad_token_id"]}

    @cached_property
    def _tokenizer(self) -> Any:
        return self.tokenizer()

    @cached_property
    def _tokenized(self) -> list[dict[str, Any]]:
        return [case.data for root in self.roots for case in _cases(root) if case.kind == "G1"]

    def _tokenize(self, text: str, what: str) -> list[int]:
        if not text:
            return []
        if self._tokenizer is None:
            raise ParityError(
                f'no case holds the token ids of the {what} "{text}" and no CLIP tokenizer was found: '
                "give a folder with vocab.json and merges.txt as --tokenizer DIR"
            )
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _places(self) -> str:
        return " or ".join(str(root) for root in self.roots)


def _cases(root: Path) -> Iterator[Case]:
    for path in sorted(root.rglob("G*.json")):
        if match := _CASE.fullmatch(path.name):
            yield Case(path, f"G{match[1]}")


def layout_size(data: dict[str, Any]) -> tuple[int, int] | None:
    """(width, height) of the layout that the published code saw."""
    for key in ("keys", "hidden_state_keys"):
        full = data.get(key, {}).get("CA_WEIGHT_ORIG")
        if full:
            shape = full["shape"] if isinstance(full, dict) else full
            return int(shape[1]), int(shape[0])
    size = data.get("layout_size_WxH") or data.get("layout_size_used")
    return (int(size[0]), int(size[1])) if size else None


def map_shapes(data: dict[str, Any]) -> dict[int, list[int]]:
    """Shapes of the maps a case recorded by the number in their key: {9216: [9216, 77], …}."""
    maps = data.get("keys") or data.get("hidden_state_keys") or {}
    return {
        int(key.rpartition("_")[2]): (value["shape"] if isinstance(value, dict) else value)
        for key, value in maps.items()
        if key.rpartition("_")[2].isdigit()
    }


def content_ids(ids: Sequence[int], special: dict[str, int]) -> list[int]:
    """Token ids without the start token, the first end token and what follows it."""
    stream = list(ids)[1:] if list(ids[:1]) == [special["bos"]] else list(ids)
    return stream[: stream.index(special["eos"])] if special["eos"] in stream else stream


def noise_of(case: Case, references: References) -> tuple[Tensor | None, Tensor | None]:
    """Stored unit noise of a case: (initial latents [1, 4, h, w], recurrence draws [n, 4, h, w])."""
    initial = case.tensors.get("latents_init_unit")
    draws = case.tensors.get("recurrent_noise_first")
    if name := case.data.get("recurrent_noise_file"):
        stored = load_file(references.find(name))
        initial = stored["latents_init_unit"] if initial is None else initial
        draws = stored["recurrent_noise"][: int(case.data.get("n_recurrent_noises", 0))]
    return initial, draws if draws is not None and len(draws) else None


def stack_steps(latents: Tensor) -> Tensor:
    """Latents of several steps as [n, 4, h, w], whether or not a batch axis of 1 was kept."""
    return latents.flatten(0, 1) if latents.ndim == 5 else latents
