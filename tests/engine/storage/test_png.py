"""Settings inside PNG files."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from cones2.storage.png import MAX_SETTINGS, read_settings, write_png


def reopened(settings: dict[str, Any]) -> Image.Image:
    stream = io.BytesIO()
    write_png(Image.new("RGB", (4, 4)), stream, settings)
    return Image.open(stream)


@pytest.mark.parametrize(
    "settings", [{"prompt": "a Käfer — 犬", "seeds": [0, 1], "cfg": 7.5}, {"model": "caf\udce9/model"}, {}]
)
def test_settings_travel_in_the_png(settings):
    assert read_settings(reopened(settings)) == settings


def test_a_picture_without_settings_has_none():
    assert read_settings(Image.new("RGB", (4, 4))) == {}


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", "[" * 100_000, '{"steps": ' + "9" * 5000 + "}", '{"a": "' + "x" * MAX_SETTINGS + '"}', ""],
    ids=["broken", "list", "nested", "huge number", "too long", "empty"],
)
def test_what_strangers_put_there_instead_is_ignored(text):
    picture = Image.new("RGB", (4, 4))
    picture.info["cones2"] = text
    assert read_settings(picture) == {}
