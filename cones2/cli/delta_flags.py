"""`--delta` and `--region-delta`: Custom Diffusion files on the model that samples, everywhere or in a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..custom_diffusion.base import attention_weights
from ..custom_diffusion.delta import renamed_apart, token_names
from ..custom_diffusion.files import load_delta
from ..custom_diffusion.regional import own_projections
from ..diffusers_models.deltas import DeltaUse, with_deltas
from ..diffusers_models.latent_model import DiffusersModel
from ..errors import ConfigError
from ..guidance.regional import OwnProjections, RegionalProjections
from ..layout.regions import Layout
from ..messages import listed, shown
from ..prompt.claims import PhraseRef, parse_phrase
from ..scene import Scene
from ..storage.files import shown_path
from .delta import split_strength
from .output import say


class RegionDelta(NamedTuple):
    """`--region-delta "PHRASE=FILE@STRENGTH"`: a delta that acts where the phrase's region is."""

    reference: PhraseRef
    path: Path
    strength: float


def parse_region_delta(text: str) -> RegionDelta:
    """Read "<new1> cat=cat.bin@0.8". Raises ConfigError for a flag without a phrase or file."""
    phrase, equals, rest = text.partition("=")
    if not equals or not phrase.strip() or not rest:
        raise ConfigError(f'--region-delta "{shown(text, 80)}" names no subject: write "<new1> cat=cat.bin"')
    return RegionDelta(parse_phrase(phrase), *split_strength(rest, "--region-delta"))


class RegionLayers(NamedTuple):
    """What a delta adds to the projections of each layer, for the subject in whose region it acts."""

    reference: PhraseRef
    layers: Mapping[str, OwnProjections]


def region_layers(model: DiffusersModel, deltas: Sequence[RegionDelta]) -> list[RegionLayers]:
    """The layers of each delta against a model that no delta has changed yet."""
    base = attention_weights(model.unet.named_parameters()) if deltas else {}
    return [
        RegionLayers(delta.reference, own_projections(load_delta(delta.path), base, delta.strength)) for delta in deltas
    ]


def with_region_deltas(scene: Scene, layout: Layout | None, deltas: Sequence[RegionLayers]) -> Scene:
    """The scene in which each delta's keys and values act inside its subject's region alone.

    A region of negative weight is not its subject's. Raises ConfigError for a phrase without a region in the layout.
    """
    if not deltas:
        return scene
    regions = () if layout is None else [region for region in layout.regions if region.weight >= 0]
    regional = []
    for delta in deltas:
        wanted = str(delta.reference).lower()
        own = [region for region in regions if str(parse_phrase(region.subject)).lower() == wanted]
        if not own:
            names = listed([region.subject for region in regions])
            raise ConfigError(f'--region-delta: "{shown(delta.reference)}" has no region; the layout has {names}')
        regional += [RegionalProjections(region.mask, delta.layers) for region in own]
    return replace(scene, regional=tuple(regional))


def with_delta_files(
    model: DiffusersModel, files: Sequence[tuple[Path, float]], in_regions: Sequence[RegionDelta] = ()
) -> DiffusersModel:
    """The model with the deltas of these files, each at its strength, and with the words of those that act in regions.

    Says which tokens are called differently.
    """
    files = [*files, *((delta.path, 0.0) for delta in in_regions)]
    if not files:
        return model
    deltas = [load_delta(path) for path, _ in files]
    apart = renamed_apart(deltas)
    for (path, _), delta, named in zip(files, deltas, apart, strict=True):
        for old, new in zip(token_names(delta), token_names(named), strict=True):
            if old != new:
                say(f"{shown_path(path)}: its token {shown(old, 40)} is called {new} here")
    return with_deltas(model, [DeltaUse(delta, strength) for delta, (_, strength) in zip(apart, files, strict=True)])


def delta_record(files: Sequence[tuple[Path, float]], in_regions: Sequence[RegionDelta]) -> dict[str, object]:
    """What a picture says about its deltas; nothing without any."""
    record: dict[str, object] = {}
    if files:
        record["deltas"] = [[str(path), strength] for path, strength in files]
    if in_regions:
        record["region_deltas"] = [[str(each.reference), str(each.path), each.strength] for each in in_regions]
    return record
