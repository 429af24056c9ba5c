"""The presets' numbers are those of the engine wherever they are shown."""

from __future__ import annotations

import pytest

from tools.presets import LOCALES, PACK, PAGES, with_presets


@pytest.mark.parametrize("path", [*PAGES, *LOCALES])
def test_texts_show_the_numbers_of_the_presets(path: str) -> None:
    """`python -m tools.presets` writes them."""
    text = (PACK / path).read_text(encoding="utf-8")
    assert "recommended" in text
    assert with_presets(path, text) == text


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_one_table_of_presets(path: str) -> None:
    text = (PACK / path).read_text(encoding="utf-8")
    assert text.count("<!-- presets -->") == text.count("<!-- /presets -->") == 1
    assert text.count("| `recommended` |") == 1
