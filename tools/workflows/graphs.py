"""The workflows by name, as the template menu shows them. `build.py` builds them in the frontend."""

from .blueprint import BLUEPRINT
from .deltas import TWO_CONCEPTS
from .photos import PHOTOS_AND_PLACES, PHOTOS_TO_PICTURE
from .published import PUBLISHED_CONFIG
from .templates import START_HERE, THREE_SUBJECTS, YOUR_CHECKPOINT

GRAPHS = {
    "1 Start here": START_HERE,
    "2 Your checkpoint": YOUR_CHECKPOINT,
    "3 Photos to picture": PHOTOS_TO_PICTURE,
    "4 Published config": PUBLISHED_CONFIG,
    "5 Three subjects and a second pass": THREE_SUBJECTS,
    "6 Photos and places.app": PHOTOS_AND_PLACES,
    "7 Two trained concepts": TWO_CONCEPTS,
}
BLUEPRINTS = {"Subjects in their places (Cones 2)": BLUEPRINT}
