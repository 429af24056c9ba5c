"""The toy world's model, judge, residuals and photos, ready to be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...assets import TOYWORLD
from ...concepts.pictured import PicturedSubject
from ...concepts.residual import Residual, make_residual
from ...concepts.residual_file import load_residual
from ...diffusers_models.image_encoder import load_image_encoder, references_of
from ...diffusers_models.latent_model import DiffusersModel
from ...diffusers_models.loading import load_model
from ...errors import ResidualError
from ...picture_adapter.adapter_file import load_adapter
from ...picture_adapter.references import References
from ...picture_adapter.shares import RegionShares
from ...storage.files import read_limited, shown_path
from ..cases import Case
from ..drawing import Material
from ..scores import Verdict
from .captions import wordless_rows
from .detector import Detector, load_detector
from .judging import verdicts
from .subjects import cutouts, empty_picture
from .world import CUSTOM, WORDLESS_SUBJECTS

_MOST = 1 << 30  # bytes of a file of weights


class AdapterPaths(NamedTuple):
    """An image adapter's file and the folder of the image encoder that it was made with."""

    weights: Path
    image_encoder: Path


@dataclass(frozen=True, eq=False)
class ToyBench:
    """What draws and what judges."""

    material: Material
    detector: Detector

    def judge(self, pictures: Tensor, cases: Sequence[Case]) -> list[Verdict]:
        """The verdict about each picture [B, 3, 64, 64] in [0, 1] of its case."""
        return verdicts(self.detector, pictures, cases)


def open_bench(
    residuals: Path | None = None,
    assets: Path = TOYWORLD,
    device: torch.device | str = "cpu",
    adapter: AdapterPaths | None = None,
) -> ToyBench:
    """A model of the toy world and the shipped judge.

    residuals: folder of NAME.safetensors; by default the model's own, in assets/residuals. A subject whose
    file is missing has none. adapter: for arms that read pictures. Raises Cones2Error for a file that cannot be read.
    """
    model = load_model(assets, device=device)
    model.unet.to(memory_format=torch.channels_last)  # a tenth faster; the same memory format always: the same bits
    own = read_residuals(residuals) if residuals else _found_residuals(assets / "residuals")
    references = None if adapter is None else _reader(model, adapter)
    material = Material(model, own, _oracles(model.width), cutouts, _background, references)
    return ToyBench(material, load_detector(TOYWORLD / "detector.safetensors"))


def weights_digest(residuals: Path | None = None, assets: Path = TOYWORLD, adapter: AdapterPaths | None = None) -> str:
    """16 hexadecimal digits that are others when the model, the judge, a residual or the adapter is another."""
    digest = hashlib.blake2b(digest_size=8)
    judge = TOYWORLD / "detector.safetensors"
    own = [judge, *sorted(p for p in assets.glob("*/*.safetensors") if p.parent.name != "residuals")]
    if adapter is not None:
        own += [adapter.weights, *sorted(adapter.image_encoder.glob("*.safetensors"))]
    for path in [*own, *sorted((residuals or assets / "residuals").glob("*.safetensors"))]:
        digest.update(path.name.encode() + read_limited(path, _MOST, "weights file"))
    return digest.hexdigest()


def read_residuals(folder: Path) -> dict[str, Residual]:
    """The residuals NAME.safetensors of the custom subjects in a folder. Raises ResidualError when it has none."""
    found = _found_residuals(folder)
    if not found:
        raise ResidualError(
            f"{shown_path(folder)} has no residual of a custom subject, such as {next(iter(CUSTOM))}.safetensors"
        )
    return found


def _found_residuals(folder: Path) -> dict[str, Residual]:
    paths = {name: folder / f"{name}.safetensors" for name in CUSTOM}
    return {name: load_residual(path, CUSTOM[name].kind) for name, path in paths.items() if path.is_file()}


def _reader(
    model: DiffusersModel, paths: AdapterPaths
) -> Callable[[Sequence[PicturedSubject], float, RegionShares | None], References]:
    """What the adapter makes of subjects' pictures."""
    adapter, encoder = load_adapter(paths.weights), load_image_encoder(paths.image_encoder, model.device)

    def read(subjects: Sequence[PicturedSubject], scale: float, shares: RegionShares | None) -> References:
        return references_of(model, adapter, encoder, subjects, scale, shares)

    return read


def _oracles(width: int) -> dict[str, Residual]:
    return {
        name: make_residual(look.kind, wordless_rows(look, width)[None]) for name, look in WORDLESS_SUBJECTS.items()
    }


def _background(case: Case) -> Tensor:
    return empty_picture(case.background, case.seed)
