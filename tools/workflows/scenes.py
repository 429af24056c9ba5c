"""What the templates draw. Chosen for clarity, before any seed was looked at: two or three things that differ in shape
and colors, on a plain ground, in squares large enough for them."""

from dataclasses import dataclass

from .parts import DEMO_SIDE, Placed

ORANGE, BLUE, GREEN = "#e69f00", "#56b4e9", "#009e73"  # the painter's palette


def pixels(left: int, top: int, width: int, height: int) -> tuple[float, float, float, float]:
    """A box of the demo model's picture in fractions."""
    return (left / DEMO_SIDE, top / DEMO_SIDE, width / DEMO_SIDE, height / DEMO_SIDE)


@dataclass(frozen=True)
class DemoScene:
    """A scene of the demo model."""

    prompt: str
    subjects: tuple[Placed, ...]


START = DemoScene(
    "a photo of a tree and a dog on the grass",
    (
        Placed("tree", pixels(3, 20, 28, 30), "demo/blue_yellow_tree.safetensors", ORANGE),
        Placed("dog", pixels(33, 20, 28, 30), "demo/blue_white_dog.safetensors", BLUE),
    ),
)
BESIDE = DemoScene(
    "a photo of a mug and a dog on the beach",
    (
        Placed("mug", pixels(3, 24, 28, 30), "demo/purple_yellow_mug.safetensors", ORANGE),
        Placed("dog", pixels(33, 18, 28, 30), "demo/blue_white_dog.safetensors", BLUE),
    ),
)
ALONE = DemoScene(
    "a photo of a dog on the beach",
    (Placed("dog", (0.25, 0.3, 0.5, 0.6), "demo/blue_white_dog.safetensors", ORANGE),),
)
LEARNED = DemoScene(
    "a photo of a dog and a house in the snow",
    (
        Placed("dog", pixels(3, 28, 28, 30), "demo/blue_white_dog.safetensors", ORANGE),
        Placed("house", pixels(33, 14, 28, 30), "demo/white_red_house.safetensors", BLUE),
    ),
)
DIAGONAL = DemoScene(
    "a house and a dog in the desert",
    (
        Placed("house", pixels(3, 4, 28, 30), "demo/white_red_house.safetensors", "#ffc000"),
        Placed("dog", pixels(33, 30, 28, 30), "demo/blue_white_dog.safetensors", "#ff0000"),
    ),
)
CONCEPTS = DemoScene(
    "a photo of a <new1> ball and a <new2> fish on the beach",
    (
        Placed("<new1> ball", pixels(3, 28, 28, 30), "", ORANGE),
        Placed("<new2> fish", pixels(33, 14, 28, 30), "", BLUE),
    ),
)
THREE = DemoScene(
    "a photo of a tree, a dog and a mug in the snow",
    (
        Placed("tree", pixels(2, 6, 20, 28), "demo/blue_yellow_tree.safetensors", ORANGE),
        Placed("dog", pixels(21, 34, 23, 26), "demo/blue_white_dog.safetensors", BLUE),
        Placed("mug", pixels(42, 8, 20, 26), "demo/purple_yellow_mug.safetensors", GREEN),
    ),
)
