"""The workflows by name. `build.py` builds them in the frontend; parts.py has what they are made of."""

from .demo import DEMO
from .published import PUBLISHED
from .three_subjects import THREE_SUBJECTS
from .train import TRAIN
from .two_subjects import TWO_SUBJECTS

GRAPHS = {
    "demo": DEMO,
    "two_subjects_color_layout": TWO_SUBJECTS,
    "published_guidance_config": PUBLISHED,
    "three_subjects_regions_second_pass": THREE_SUBJECTS,
    "train_residual": TRAIN,
}
