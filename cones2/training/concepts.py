"""What several concepts learn from: prompts, photos, and pictures of their classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from ..errors import Cones2Error, ConfigError
from ..messages import listed, shown
from ..ranges import MAX_PHRASE, SUBJECTS
from ..storage.files import read_limited, shown_path
from .views import Photo, load_photos

_MAX_LIST_BYTES = 1 << 20
_MAX_CAPTIONS_BYTES = 4 << 20
_KEYS = ("instance_prompt", "class_prompt", "instance_data_dir", "class_data_dir")
START_PIECES = ("ktn", "pll", "ucd")
"""Rare pieces of the vocabulary whose rows the words start from, in turn, as published: without end-of-word mark."""
_TOKEN = re.compile(r"<[^<>\s]+>")


class ClassPhoto(NamedTuple):
    """A picture of a concept's class, with what it shows.

    size: its width and height before it was shrunk; None: as it is.
    """

    photo: Photo
    caption: str
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class TrainingConcept:
    """One concept.

    prompt: what its photos show, "photo of a <new1> cat".
    class_prompt: what it is, "cat".
    photos: 3 to 6 of it. class_photos: of other things of its class; none for training without them.
    """

    prompt: str
    class_prompt: str
    photos: Sequence[Photo]
    class_photos: Sequence[ClassPhoto] = ()


class ConceptPaths(NamedTuple):
    """A concept as a concepts list has it: class_images may be missing."""

    prompt: str
    class_prompt: str
    images: Path
    class_images: Path | None


def read_concepts_list(path: Path) -> list[ConceptPaths]:
    """The concepts of a concepts_list.json: a list of objects with instance_prompt, class_prompt, instance_data_dir
    and class_data_dir. Relative folders are taken from the file's. Raises ConfigError naming what is wrong."""
    name = shown_path(path)
    try:
        content = json.loads(read_limited(path, _MAX_LIST_BYTES, "concepts list", (".json",)))
    except Cones2Error as error:
        raise ConfigError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not JSON") from error
    if not isinstance(content, list) or not content or len(content) not in SUBJECTS:
        raise ConfigError(f"{name} is not a list of concepts: write [{{{', '.join(_KEYS)}}}, …]")
    return [_concept_paths(entry, f"{name}: concept {place}", path.parent) for place, entry in enumerate(content, 1)]


def load_concept(paths: ConceptPaths, masks: Path | None, side: int) -> TrainingConcept:
    """The concept with its pictures, those of its class for training at up to `side` pixels.

    Raises ConfigError when a folder has none.
    """
    photos = load_photos(paths.images, masks)
    pictures = [] if paths.class_images is None else load_class_photos(paths.class_images, paths.class_prompt, side)
    return TrainingConcept(paths.prompt, paths.class_prompt, photos, pictures)


def load_class_photos(folder: Path, class_prompt: str, side: int) -> list[ClassPhoto]:
    """The pictures of a folder, each with its own caption where there is one, else with the class prompt.

    Hundreds are usual: of larger ones the center square is kept, shrunk to `side` pixels, which is what training sees.
    Captions are in NAME.txt beside NAME.png, or in caption.txt line by line as images.txt lists the pictures.
    """
    listing, sizes = _listed_captions(folder), []

    def shrunk(photo: Photo) -> Photo:
        sizes.append(photo.picture.size)
        return Photo(photo.name, _square(photo.picture, side))

    photos = []
    for photo, size in zip(load_photos(folder, kept=shrunk), sizes, strict=True):
        own = folder / f"{Path(photo.name).stem}.txt"
        caption = listing.get(Path(photo.name).name) or (_first_line(own) if own.is_file() else "")
        photos.append(ClassPhoto(photo, caption or class_prompt, size))
    return photos


def tokens_in(prompts: Sequence[str]) -> list[str]:
    """The words of one's own in the prompts, in their order: those in angle brackets."""
    return list(dict.fromkeys(name for prompt in prompts for name in _TOKEN.findall(prompt)))


def class_words(tokens: Sequence[str], concepts: Sequence[TrainingConcept]) -> list[str]:
    """What each token is: the class prompt of the first concept that names it."""
    return [next((concept.class_prompt for concept in concepts if token in concept.prompt), "") for token in tokens]


def start_ids(vocabulary: Mapping[str, int], tokens: Sequence[str], starts: Sequence[str] = START_PIECES) -> list[int]:
    """The ids of the pieces that the words of one's own start from.

    A piece is looked up in the vocabulary as it is: tokenizing it would cut it or add an end of word. A vocabulary
    without the usual pieces gives its last ones. Raises ConfigError for another piece that it lacks, or for a token
    that is a word of it.
    """
    known = [name for name in tokens if name in vocabulary]
    if known:
        raise ConfigError(f"{shown(known[0], 40)} is a word of the model's vocabulary: choose another token")
    return [_start_id(starts[place % len(starts)], place, vocabulary) for place in range(len(tokens))]


def _start_id(piece: str, place: int, vocabulary: Mapping[str, int]) -> int:
    if piece in vocabulary:
        return vocabulary[piece]
    if piece not in START_PIECES:
        raise ConfigError(
            f'"{shown(piece, 40)}" is not a piece of the model\'s vocabulary: tokens start from one, such as ktn'
        )
    plain = sorted(id for spelling, id in vocabulary.items() if not spelling.startswith("<"))
    return plain[-1 - place % len(plain)]


def _square(picture: Image.Image, side: int) -> Image.Image:
    """The picture, or its center square of this many pixels where it is larger."""
    if min(picture.size) <= side:
        return picture
    square = ImageOps.fit(picture, (min(picture.size),) * 2)
    return square.resize((side, side), Image.Resampling.BILINEAR)


def _concept_paths(entry: object, where: str, folder: Path) -> ConceptPaths:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is not an object with {', '.join(_KEYS)}")
    if unknown := sorted(str(key) for key in entry if key not in _KEYS):
        raise ConfigError(f"{where} has {listed(unknown)}; there are: {', '.join(_KEYS)}")
    for key in _KEYS[:3]:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise ConfigError(f"{where} lacks {key}")
    prompt, word = entry["instance_prompt"], entry["class_prompt"]
    if max(len(prompt), len(word)) > MAX_PHRASE:
        raise ConfigError(f"{where} has a prompt of more than {MAX_PHRASE} characters")
    pictures = entry.get("class_data_dir")
    if pictures is not None and not isinstance(pictures, str):
        raise ConfigError(f"{where}: class_data_dir is {shown(repr(pictures), 40)}, expected a folder")
    return ConceptPaths(prompt, word, folder / entry["instance_data_dir"], folder / pictures if pictures else None)


def _listed_captions(folder: Path) -> dict[str, str]:
    """Caption by file name, of images.txt and caption.txt; empty where they are not both there."""
    names, captions = (folder / name for name in ("images.txt", "caption.txt"))
    if not names.is_file() or not captions.is_file():
        return {}
    pairs = zip(_lines(names), _lines(captions), strict=False)
    return {Path(name.replace("\\", "/")).name: caption for name, caption in pairs}


def _first_line(path: Path) -> str:
    return next((line for line in _lines(path) if line), "")


def _lines(path: Path) -> list[str]:
    try:
        text = read_limited(path, _MAX_CAPTIONS_BYTES, "text file", (".txt",)).decode("utf-8", "replace")
    except Cones2Error as error:
        raise ConfigError(str(error)) from error
    return [line.strip()[:2000] for line in text.splitlines()]
