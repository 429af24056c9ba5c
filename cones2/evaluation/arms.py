"""What is done to draw a case: named arms, and arms with other numbers.

An arm is written as its name with changes: `both,g=0.3,outside=-2,mode=others,guided=0.5,recurrence=off`. The change
`preset=recommended` stands for the preset's numbers, and `@peers` in a list of arms for several (see `LISTS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..concepts.cutout import MAX_CUTOUTS
from ..errors import ConfigError
from ..guidance.weight_maps import OutsideMode
from ..messages import shown
from ..presets import PRESETS, Preset, find_preset
from ..ranges import CFG, GUIDANCE_WEIGHT, OUTSIDE_WEIGHT, PHOTO_START, REFERENCE_SCALE, STEPS, Range
from ..rules import DEFAULT_GUIDANCE, GuidanceSettings
from ..sampling.settings import SamplingSettings

Looks = Literal["words", "residuals", "described", "oracle", "pictures"]
Placing = Literal["none", "layout", "area", "couple", "dense"]
Start = Literal["noise", "photos", "collage"]

PEERS: tuple[Placing, ...] = ("area", "couple", "dense")


@dataclass(frozen=True)
class Arm:
    """One way to draw a case; its defaults are the published ones, but for fewer steps and less CFG.

    name: as reports show it.
    looks: what says how a subject looks: nothing but its noun, its residual, adjectives, or adjectives and, where
    words are not enough, what the model was trained with (an oracle: the most a residual could reach), or its photos,
    read by an image adapter (under a layout each subject's in its region).
    placing: what puts it in its place: nothing, the layout term, or a peer's way (see `peers`).
    start: noise, noise with the photos' cut-outs in it, or a noised collage.
    guidance_weight, outside_weight, outside_mode: of the layout term.
    guided: share of the steps, from the first on, that follow the layout, 0–1.
    recurrence: do guided steps twice.
    strength: how much of the cut-outs is in a start from photos (`photo_start` of the engine).
    flip: mirror the cut-outs of every second picture (those of odd seeds).
    photos: of how many of each subject's photos one is drawn for a picture, from the first on; an image adapter reads
    them all.
    denoise: share of the steps that are left to a collage, 0–1.
    scale: factor on what an image adapter adds.
    """

    name: str
    looks: Looks = "words"
    placing: Placing = "none"
    start: Start = "noise"
    guidance_weight: float = DEFAULT_GUIDANCE.guidance_weight
    outside_weight: float = DEFAULT_GUIDANCE.outside_weight
    outside_mode: OutsideMode = DEFAULT_GUIDANCE.outside_mode
    guided: float = 1.0
    recurrence: bool = True
    steps: int = 12
    cfg: float = 4.0
    strength: float = 8.0
    flip: bool = False
    photos: int = MAX_CUTOUTS
    denoise: float = 2 / 3
    scale: float = 0.75

    @property
    def guidance(self) -> GuidanceSettings:
        """The numbers of its layout term."""
        return GuidanceSettings(self.guidance_weight, self.outside_weight, self.outside_mode)

    @property
    def first_step(self) -> int:
        """The step at which sampling begins: 0, or later for a collage."""
        return min(round((1 - self.denoise) * self.steps), self.steps - 1) if self.start == "collage" else 0

    @property
    def guided_steps(self) -> int:
        """How many steps, from the first of a full run on, follow the layout."""
        return round(self.guided * self.steps) if self.placing == "layout" else 0

    def settings(self, seeds: tuple[int, ...], side: int) -> SamplingSettings:
        """What the engine's sampler is told for square pictures of `side` pixels."""
        return SamplingSettings(
            steps=self.steps,
            guided_steps=self.guided_steps,
            cfg=self.cfg,
            recurrence=self.recurrence,
            seeds=seeds,
            height=side,
            width=side,
            photo_start=self.strength if self.start == "photos" else 0.0,
        )

    @property
    def plain_forwards(self) -> int:
        """Passes through the network of a picture that is drawn in as many steps and nothing else."""
        return 2 * self.steps

    def forwards(self, subjects: int) -> int:
        """Passes through the network per picture; the negative prompt's are counted too."""
        repeated = max(self.guided_steps - self.first_step, 0) if self.recurrence else 0
        per_step = subjects + 2 if self.placing == "area" else 2
        return (self.steps - self.first_step + repeated) * per_step


NAMED = {
    arm.name: arm
    for arm in (
        Arm("nothing"),
        Arm("residual", looks="residuals"),
        Arm("layout", placing="layout"),
        Arm("both", looks="residuals", placing="layout"),
        Arm("description", looks="described", placing="layout"),
        Arm("oracle", looks="oracle", placing="layout"),
        Arm("photo", looks="residuals", placing="layout", start="photos"),
        Arm("collage", looks="residuals", placing="none", start="collage"),
        Arm("pictures", looks="pictures"),
        Arm("area", looks="residuals", placing="area"),
        Arm("couple", looks="residuals", placing="couple"),
        Arm("dense", looks="residuals", placing="dense"),
    )
}

_SHARE = Range(0, 1)


def parse_arms(texts: Sequence[str]) -> tuple[Arm, ...]:
    """The arms that texts and lists name, each text once; a list leaves out what is there already.

    Raises ConfigError for what cannot be read.
    """
    arms: dict[Arm, Arm] = {}  # without its name → with it
    for text in dict.fromkeys(texts):
        if text.startswith("@"):
            for arm in map(parse_arm, _list_of(text)):
                arms.setdefault(replace(arm, name=""), arm)
        else:
            arm = parse_arm(text)
            unnamed = replace(arm, name="")
            arms[arm if unnamed in arms else unnamed] = arm
    return tuple(arms.values())


def parse_arm(text: str) -> Arm:
    """The arm that a text names. Raises ConfigError for an unknown name, key or value."""
    name, *changes = text.split(",")
    if name not in NAMED:
        raise ConfigError(f'there is no arm "{shown(name)}"; there are: {", ".join((*NAMED, *LISTS))}')
    changes = [part for change in changes for part in _spelled_out(change)]
    arm = replace(NAMED[name], name=",".join([name, *changes]))
    for change in changes:
        key, _, value = change.partition("=")
        if key not in _KEYS:
            raise ConfigError(f'"{shown(text)}" changes "{shown(key)}"; an arm has: {", ".join((*_KEYS, "preset"))}')
        field, read = _KEYS[key]
        try:
            arm = replace(arm, **{field: read(value)})
        except ValueError as error:
            raise ConfigError(f'"{shown(text)}": {key} is "{shown(value)}": {error}') from error
    if arm.looks == "pictures" and (arm.placing in PEERS or arm.start != "noise"):
        raise ConfigError(f'"{shown(text)}": pictures go with placing=none and placing=layout, and start from noise')
    return arm


def _list_of(text: str) -> tuple[str, ...]:
    if text not in LISTS:
        raise ConfigError(f'there is no list "{shown(text)}"; there are: {", ".join(LISTS)}')
    return LISTS[text]


def _spelled_out(change: str) -> list[str]:
    """A preset's numbers in place of its name: an arm keeps its meaning, and a report says it, when presets change."""
    key, _, name = change.partition("=")
    return _changes(find_preset(name)) if key == "preset" else [change]


def _changes(preset: Preset, guided: float | None = None, recurrence: bool | None = None) -> list[str]:
    share = preset.guided if guided is None else guided
    twice = preset.recurrence if recurrence is None else recurrence
    return [
        f"g={preset.guidance.guidance_weight:g}",
        f"outside={preset.guidance.outside_weight:g}",
        f"mode={preset.guidance.outside_mode}",
        f"guided={share:g}",
        f"recurrence={'on' if twice else 'off'}",
    ]


def _number(allowed: Range) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if number not in allowed:
            raise ValueError(f"a number from {allowed} is needed")
        return number

    return read


def _whole(allowed: Range) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) not in allowed:
            raise ValueError(f"a whole number from {allowed} is needed")
        return int(text)

    return read


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"write {' or '.join(names)}")
        return text

    return read


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "looks": ("looks", _one_of("words", "residuals", "described", "oracle", "pictures")),
    "placing": ("placing", _one_of("none", "layout", *PEERS)),
    "g": ("guidance_weight", _number(GUIDANCE_WEIGHT)),
    "outside": ("outside_weight", _number(OUTSIDE_WEIGHT)),
    "mode": ("outside_mode", _one_of("outside", "others")),
    "guided": ("guided", _number(_SHARE)),
    "recurrence": ("recurrence", _switch),
    "steps": ("steps", _whole(STEPS)),
    "cfg": ("cfg", _number(CFG)),
    "strength": ("strength", _number(PHOTO_START)),
    "flip": ("flip", _switch),
    "photos": ("photos", _whole(Range(1, MAX_CUTOUTS))),
    "denoise": ("denoise", _number(_SHARE)),
    "scale": ("scale", _number(REFERENCE_SCALE)),
}

_GRID = [
    ",".join(["both", *_changes(Preset(GuidanceSettings(weight, outside, mode), recurrence=False))])
    for weight in (0.08, 0.15, 0.3, 0.6)
    for outside in (DEFAULT_GUIDANCE.outside_weight, -8.0, -2.0)
    for mode in ("outside", "others")
]
_GUIDED = [
    ",".join(["both", *_changes(preset, guided, recurrence)])
    for preset in (PRESETS["published"], PRESETS["recommended"])
    for guided in (1.0, 0.75, 0.5, 0.25)
    for recurrence in (True, False)
]
LISTS: dict[str, tuple[str, ...]] = {
    "@grid": ("both", *_GRID),
    "@guided": ("both", *_GUIDED),
    "@peers": ("both", "both,preset=recommended", *PEERS),
}
"""Named lists of arms; the published settings come first, so that all others are compared with them.

@grid: guidance weight × outside weight × outside mode, each guided step done once.
@guided: the weights of both presets with fewer guided steps, done twice and once. @peers: two presets and other
projects' ways.
"""
