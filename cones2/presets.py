"""Named settings of layout guidance: the published ones, cheaper ones that did as well on the toy model, and those
that kept six subjects apart best.

docs/evaluation.md has the figures.

The only place with their numbers: flags, widgets, arms and the documentation take them from here
(`python -m tools.presets` writes the texts).
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ConfigError
from .guidance.settings import DEFAULT_GUIDANCE, GuidanceSettings
from .messages import shown

AS_SET = "as set"
"""Instead of a preset's name, where one must be chosen: the numbers count as they are set."""


@dataclass(frozen=True)
class Preset:
    """Everything that a preset decides.

    guided: share of the steps, from the first on, that follow the layout, 0–1.
    recurrence: guided steps are done twice.
    """

    guidance: GuidanceSettings
    guided: float = 1.0
    recurrence: bool = True

    def guided_steps(self, steps: int) -> int:
        """How many of a run's steps follow the layout."""
        return round(self.guided * steps)

    @property
    def forwards(self) -> float:
        """Its passes through the network, as a multiple of those of a run without a layout."""
        return 1 + self.guided * self.recurrence

    @property
    def values(self) -> dict[str, str]:
        """What it sets, by the names of the widgets."""
        return {
            "guidance_weight": f"{self.guidance.guidance_weight:g}",
            "outside_weight": f"{self.guidance.outside_weight:g}",
            "negative_mode": self.guidance.outside_mode,
            "guided_steps": f"{self.guided:.0%}",
            "recurrence": "on" if self.recurrence else "off",
        }

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.values.items())


PRESETS = {
    "published": Preset(DEFAULT_GUIDANCE),
    "recommended": Preset(GuidanceSettings(guidance_weight=0.3), recurrence=False),
    "crowded": Preset(GuidanceSettings(guidance_weight=0.3)),
}


def find_preset(name: str) -> Preset:
    """The preset of that name. Raises ConfigError naming those that there are."""
    if name not in PRESETS:
        raise ConfigError(f'there is no preset "{shown(name)}"; there are: {", ".join(PRESETS)}')
    return PRESETS[name]


def preset_lines() -> str:
    """The presets with their values, a line each."""
    return "\n".join(f"{name}: {preset}" for name, preset in PRESETS.items())
