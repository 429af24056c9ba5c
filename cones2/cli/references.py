"""Subjects from pictures in a run of `sample`: their files read once, bound to each job's prompt and layout."""

from __future__ import annotations

import logging
from dataclasses import replace

from ..concepts.cutout_text import transparent_cutout
from ..concepts.pictured import PicturedSubject
from ..diffusers_models.image_encoder import load_image_encoder, references_of
from ..diffusers_models.latent_model import DiffusersModel
from ..errors import Cones2Error, ConfigError
from ..layout.regions import Layout
from ..messages import shown
from ..picture_adapter.adapter import default_scale
from ..picture_adapter.adapter_file import load_adapter
from ..picture_adapter.references import References
from ..picture_adapter.shares import region_shares
from ..prompt.claims import locate_subjects, parse_phrase
from ..prompt.tokens import PromptTokens
from ..scene import Scene
from ..storage.files import shown_path
from ..storage.images import open_cutout_picture
from .reference_flags import ReferenceFlag, ReferenceOptions

log = logging.getLogger(__name__)


def load_references(options: ReferenceOptions, model: DiffusersModel) -> References:
    """What the adapter makes of all pictures. Neither the adapter nor the image encoder is needed afterwards."""
    subjects = [_subject(flag) for flag in options.flags]
    adapter = load_adapter(options.adapter)
    if not adapter.has_text_factor:
        log.warning("%s is a plain IP-Adapter: it has no learned text factor, which is left out", options.adapter.name)
    encoder = load_image_encoder(options.image_encoder, model.device)
    scale = default_scale(adapter) if options.scale is None else options.scale
    return references_of(model, adapter, encoder, subjects, scale)


def with_references(
    scene: Scene,
    references: References,
    options: ReferenceOptions,
    prompt: PromptTokens,
    model: DiffusersModel,
    layout: Layout | None,
) -> Scene:
    """The scene with pictures of its subjects. Raises PromptError for a name that is not in the prompt."""
    for subject in references.subjects:
        locate_subjects(prompt, [subject], model.tokenize)
    shares = None if layout is None else region_shares(layout, references.subjects, options.edge, options.outside)
    if layout is not None and shares is None:
        log.warning("no region of the layout is a subject's with pictures: they count wherever their names attend")
    return replace(scene, references=replace(references, shares=shares))


def _subject(flag: ReferenceFlag) -> PicturedSubject:
    cutouts = []
    for path in flag.paths:
        picture = open_cutout_picture(path)
        try:
            cutouts.append(transparent_cutout(picture))
        except Cones2Error as error:
            raise ConfigError(f"{shown_path(path)}: {error}") from error
    try:
        return PicturedSubject(parse_phrase(flag.phrase), tuple(cutouts), flag.strength)
    except Cones2Error as error:
        raise ConfigError(f'--reference "{shown(flag.phrase)}": {error}') from error
