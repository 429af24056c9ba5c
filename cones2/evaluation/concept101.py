"""CLIP-T, CLIP-I and DINO of generated pictures, as the field computes them, and how often subjects are confused.

CLIP-T is 2.5 · max(cos, 0) of picture and prompt (CLIPScore, arXiv 2104.08718). CLIP-I and DINO are the mean cosine
over all generated × reference pictures of a subject (DreamBooth, arXiv 2208.12242; Custom Diffusion, arXiv 2212.04488,
for its CustomConcept101). Each is averaged over the subjects of a group of pictures, then over the groups; the pictures
of a group show the same subjects. None of the three sees two subjects exchanged; the confusion does: what lies
in a subject's region is compared with its own photos and with those of the picture's other subjects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image
from torch import Tensor

from ..layout.regions import Box
from .generated import Generated
from .scores import Share
from .similarity import Embed

CLIP_T_SCALE = 2.5


class TextPictures(Protocol):
    """What compares texts with pictures: `similarity.Clip`."""

    def pictures(self, pictures: Iterable[Image.Image]) -> Tensor:
        """Unit vectors [n, d]."""
        ...

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [n, d]."""
        ...


@dataclass(frozen=True)
class Confusion:
    """What lies in the regions, by one network. n: regions of pictures in which another subject has one.

    own: mean cosine with the subject's photos. other: with those of the picture's nearest other subject.
    mistaken: regions that are more like another subject.
    """

    own: float
    other: float
    mistaken: Share

    @property
    def margin(self) -> float:
        """own − other: 0 or less where the subjects cannot be told apart."""
        return self.own - self.other


@dataclass(frozen=True)
class Alignment:
    """The figures of one set of pictures.

    clip_t: with the prompts. clip_i, dino: subject → mean cosine with its photos.
    """

    pictures: int
    clip_t: float
    clip_i: Mapping[str, float]
    dino: Mapping[str, float]


@dataclass(frozen=True)
class Findings:
    """groups: by the subjects of their pictures. subjects: over all pictures of each subject.

    confusion: by network, "clip" and "dino"; None where no picture has two regions.
    """

    groups: Mapping[tuple[str, ...], Alignment]
    subjects: Alignment
    confusion: Mapping[str, Confusion | None]

    @property
    def clip_t(self) -> float:
        """Mean over the groups."""
        return _mean(group.clip_t for group in self.groups.values())

    @property
    def clip_i(self) -> float:
        """Mean over the subjects of a group, then over the groups."""
        return _mean(_mean(group.clip_i.values()) for group in self.groups.values())

    @property
    def dino(self) -> float:
        """Mean over the subjects of a group, then over the groups."""
        return _mean(_mean(group.dino.values()) for group in self.groups.values())


@dataclass(frozen=True, eq=False)
class _Vectors:
    """Unit vectors: of pictures [n, d] and of each subject's photos."""

    pictures: Tensor
    references: Mapping[str, Tensor]

    def likeness(self, subject: str, rows: Sequence[int]) -> float:
        """Mean cosine of some pictures with the subject's photos."""
        return float((self.pictures[list(rows)] @ self.references[subject].mT).mean())


def measure(
    generated: Sequence[Generated],
    references: Mapping[str, Sequence[Image.Image]],
    clip: TextPictures,
    dino: Embed,
) -> Findings:
    """The figures of generated pictures, of which there is at least one. Raises ConfigError for an unreadable one."""
    networks = {"clip": clip.pictures, "dino": dino}
    vectors = {
        name: _Vectors(
            embed(one.picture() for one in generated),
            {subject: embed(photos) for subject, photos in references.items()},
        )
        for name, embed in networks.items()
    }
    fit = CLIP_T_SCALE * (vectors["clip"].pictures * clip.texts([one.prompt for one in generated])).sum(-1).clamp(min=0)
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, one in enumerate(generated):
        groups.setdefault(tuple(sorted(one.subjects)), []).append(row)
    confusion = {name: _confusion(generated, vectors[name].references, embed) for name, embed in networks.items()}
    return Findings(
        {group: _alignment(generated, rows, fit, vectors) for group, rows in sorted(groups.items())},
        _alignment(generated, range(len(generated)), fit, vectors),
        confusion,
    )


def _alignment(
    generated: Sequence[Generated], rows: Sequence[int], fit: Tensor, vectors: Mapping[str, _Vectors]
) -> Alignment:
    showing: dict[str, list[int]] = {}
    for row in rows:
        for subject in generated[row].subjects:
            showing.setdefault(subject, []).append(row)
    likeness = {
        name: {subject: one.likeness(subject, showing[subject]) for subject in sorted(showing)}
        for name, one in vectors.items()
    }
    return Alignment(len(rows), float(fit[list(rows)].mean()), likeness["clip"], likeness["dino"])


def _confusion(generated: Sequence[Generated], references: Mapping[str, Tensor], embed: Embed) -> Confusion | None:
    contested = [(one, subject) for one in generated if len(one.regions) > 1 for subject in one.regions]
    if not contested:
        return None
    seen = embed(cut(one.picture(), one.regions[subject]) for one, subject in contested)
    own, other = [], []
    for row, (one, subject) in zip(seen, contested, strict=True):
        likeness = {name: float((references[name] @ row).mean()) for name in one.regions}
        own.append(likeness.pop(subject))
        other.append(max(likeness.values()))
    mistaken = sum(theirs > mine for mine, theirs in zip(own, other, strict=True))
    return Confusion(_mean(own), _mean(other), Share(mistaken, len(contested)))


def cut(picture: Image.Image, box: Box) -> Image.Image:
    """The part of a picture in a box given in fractions of it; at least one pixel."""
    width, height = picture.size
    left, top = (min(int(start * side), side - 1) for start, side in ((box.x, width), (box.y, height)))
    right = max(left + 1, round((box.x + box.width) * width))
    bottom = max(top + 1, round((box.y + box.height) * height))
    return picture.crop((left, top, min(right, width), min(bottom, height)))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
