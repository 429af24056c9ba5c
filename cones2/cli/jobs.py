"""What to sample: one job per entry of a guidance config, or one from --subject and --layout flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..concepts.collage import PlacedCutouts
from ..concepts.concept import PlacedConcept
from ..concepts.residual_file import load_residual
from ..errors import Cones2Error, ConfigError
from ..layout.colors import parse_color
from ..layout.document import LayoutDocument
from ..layout.painted import ColorEntry
from ..layout.regions import DEFAULT_WEIGHT, Layout
from ..messages import shown
from ..prompt.claims import Claim, PhraseRef, locate_subjects, parse_phrase
from ..prompt.conditioning import EncodedPrompt
from ..published.config import GuidanceConfig, load_guidance_configs
from ..published.placement import resolve_subjects
from ..ranges import REGION_WEIGHT
from ..rules import DEFAULT_GUIDANCE, GuidanceSettings, Rules
from ..scene import LatentModel, Scene, bind
from ..storage.files import shown_path
from ..storage.names import shortened_name
from .arguments import residual_path
from .cutouts import Cutouts, key_of


@dataclass(frozen=True)
class SubjectFlag:
    """`--subject "PHRASE=FILE@WEIGHT:COLOR"`: file, weight and color are optional.

    entry: its line in the color table.
    strength: factor on the residual.
    """

    phrase: str
    residual: Path | None
    entry: ColorEntry | None
    strength: float = 1.0

    @property
    def reference(self) -> PhraseRef:
        """The phrase and, for "dog#2", the occurrence that it names."""
        return parse_phrase(self.phrase)


@dataclass(frozen=True)
class Job:
    """One prompt to sample.

    name: how its files are called.
    table: color table of the layout file.
    guided_steps: None for all.
    config: the entry it came from, or None; subjects: the flags it came from, if any.
    document: what is drawn, instead of a layout file and its table.
    """

    name: str
    prompt: str
    layout: Path | None
    table: tuple[ColorEntry, ...]
    guided_steps: int | None
    guidance: GuidanceSettings
    config: GuidanceConfig | None = None
    subjects: tuple[SubjectFlag, ...] = ()
    document: LayoutDocument | None = None

    @property
    def names(self) -> list[str]:
        """Its subjects, as its flags, its document or its config have them."""
        if self.config is not None:
            return [one.name for one in self.config.subjects]
        drawn = self.document.subjects if self.document else ()
        return list(dict.fromkeys([*(flag.phrase for flag in self.subjects), *(subject.name for subject in drawn)]))


def parse_subject(text: str) -> SubjectFlag:
    """Read "dog=path/dog.safetensors@2.5:#ff0000", "dog=dog.pt", "dog:#f00" or "dog:255,0,0".

    Raises ConfigError for a missing phrase or a color or weight that cannot be read.
    """
    phrase, equals, rest = text.partition("=")
    if not equals:
        phrase, _, rest = text.rpartition(":")
        phrase, rest = (phrase, ":" + rest) if phrase else (text, "")
    path, color = _split_color(rest)
    path, weight = _split_weight(path)
    if not equals and not path:
        phrase, weight = _split_weight(phrase)
    flag = f'--subject "{shown(text)}"'
    if not phrase.strip():
        raise ConfigError(f'{flag} names no subject: write "dog=dog.safetensors@2.5:#ff0000"')
    if weight not in REGION_WEIGHT:
        raise ConfigError(f"{flag} has the weight {weight:g}: it must be a number from {REGION_WEIGHT}")
    if not path and color is None:
        raise ConfigError(f"{flag} has neither a residual file nor a color")
    entry = None if color is None else ColorEntry(parse_color(color), phrase.strip(), weight)
    return SubjectFlag(phrase.strip(), residual_path(path) if path else None, entry)


def _split_color(text: str) -> tuple[str, str | None]:
    head, separator, tail = text.rpartition(":")
    if not separator or "/" in tail or "\\" in tail:  # C:\dog.pt
        return text, None
    return head, tail


def _split_weight(text: str) -> tuple[str, float]:
    head, separator, tail = text.rpartition("@")
    if not separator:
        return text, DEFAULT_WEIGHT
    try:
        return head, float(tail)
    except ValueError:
        return text, DEFAULT_WEIGHT  # an "@" in the file's name


def jobs_from_config(path: Path, prompt: str | None, layout: Path | None) -> list[Job]:
    """Every entry of a published config; prompt and layout replace the entries' own."""
    return [
        Job(
            name=f"{shortened_name(path.stem)}_{config.entry}",
            prompt=prompt or config.prompt,
            layout=layout or config.layout,
            table=config.colors,
            guided_steps=config.guided_steps,
            guidance=config.guidance,
            config=replace(config, prompt=prompt or config.prompt),
        )
        for config in load_guidance_configs(path)
    ]


def job_from_flags(
    prompt: str, subjects: Sequence[SubjectFlag], layout: Path | None, document: LayoutDocument | None = None
) -> Job:
    """A job without a config. Raises ConfigError when colors and layout do not come together, or with a document."""
    table = tuple(subject.entry for subject in subjects if subject.entry is not None)
    if document is not None:
        if table or layout is not None:
            raise ConfigError("--layout and colors do not go with --scene and --region: give one or the other")
        return Job("picture", prompt, None, (), None, DEFAULT_GUIDANCE, None, tuple(subjects), document)
    if table and layout is None:
        raise ConfigError(
            f'"{shown(table[0].subject)}" has a color but there is no layout picture: give it as --layout FILE'
        )
    if layout is not None and not table:
        example = _with_color(subjects[0]) if subjects else '"dog:#ff0000"'
        raise ConfigError(
            f"{shown_path(layout)} needs a color per subject, that of its region: write --subject {example}"
        )
    return Job("picture", prompt, layout, table, None, DEFAULT_GUIDANCE, subjects=tuple(subjects))


def _with_color(subject: SubjectFlag) -> str:
    """What to type for a subject so that it has a color."""
    residual = "" if subject.residual is None else f"={shown_path(subject.residual)}"
    return f'"{shown(subject.phrase)}{residual}:#ff0000"'


def job_scene(
    job: Job,
    model: LatentModel,
    negative: str,
    layout: Layout | None,
    typed_positions: bool,
    rules: Rules,
    cutouts: Cutouts,
) -> Scene:
    """Bind the job to a model: tokens located, residuals loaded and added, attention terms made.

    cutouts: instead of those that residuals hold.
    """
    encoded, unprompted = model.encode_prompts(job.prompt, negative, format=rules.prompt_format)
    if job.config is not None:
        placements = resolve_subjects(
            job.config, encoded.tokens, model.tokenize, typed_positions or rules.typed_positions
        )
        found = [_concept(one.residual, one.reference.phrase, one.claim, cutouts, one.name) for one in placements]
        return _bound(job, model, encoded, unprompted, found, layout, None, rules)
    flags, of_regions = _with_drawn(job, layout)
    claims = locate_subjects(encoded.tokens, [flag.reference for flag in flags], model.tokenize, share=True)
    found = [
        _concept(flag.residual, flag.phrase, claim, cutouts, flag.phrase, flag.strength)
        for flag, claim in zip(flags, claims, strict=True)
    ]
    return _bound(job, model, encoded, unprompted, found, layout, [claims[index] for index in of_regions], rules)


def _with_drawn(job: Job, layout: Layout | None) -> tuple[list[SubjectFlag], list[int]]:
    """The flags, and one for each drawn region that has none; for each region the number of its flag.

    A flag's residual and its region take the same tokens.
    """
    flags = list(job.subjects)
    if job.document is None or layout is None:
        return flags, [index for index, flag in enumerate(flags) if flag.entry is not None]
    unused, of_regions = list(range(len(flags))), []
    for name in layout.subjects:
        wanted = str(parse_phrase(name)).lower()
        same = [index for index in unused if str(flags[index].reference).lower() == wanted]
        if same:
            unused.remove(same[0])
        else:
            flags.append(SubjectFlag(name, None, None))
        of_regions.append(same[0] if same else len(flags) - 1)
    return flags, of_regions


def _concept(
    residual: Path | None, phrase: str, claim: Claim, cutouts: Cutouts, name: str, strength: float = 1.0
) -> PlacedConcept | None:
    """What is known of a subject at its tokens: its residual, photos, or both; None for a plain word.

    name: what flags or config call it. strength: factor on the residual.
    """
    own = cutouts.get(key_of(name), ())
    if residual is None:
        return PlacedCutouts(own, claim.spans) if own else None
    loaded = load_residual(residual, phrase).with_strength(strength)
    return (loaded.with_cutouts(own) if own else loaded).at(claim)


def _bound(
    job: Job,
    model: LatentModel,
    encoded: EncodedPrompt,
    unprompted: EncodedPrompt,
    found: Sequence[PlacedConcept | None],
    layout: Layout | None,
    claims: Sequence[Claim] | None,
    rules: Rules,
) -> Scene:
    concepts = [concept for concept in found if concept is not None]
    try:
        return bind(model, encoded, unprompted, concepts, layout, job.guidance, claims, rules)
    except Cones2Error as error:
        if job.config is None:
            raise
        raise Cones2Error(f"{job.config.where}: {error}") from error
