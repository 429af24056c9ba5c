"""One rule for the phrases of subjects."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cones2.concepts.phrase import MAX_PHRASE, subject_phrase
from cones2.concepts.residual import make_residual
from cones2.errors import Cones2Error, ConfigError, ResidualError
from cones2.training.config import default_config


@pytest.mark.parametrize(
    ("typed", "phrase"),
    [
        (" hot \t dog\n", "hot dog"),
        ("d\u200bog", "dog"),  # zero-width space
        ("\ufeffdog", "dog"),  # byte order mark
        ("hot\u00addog", "hotdog"),  # soft hyphen
        ("hot\u00a0dog", "hot dog"),  # no-break space
        ("\u202ekäfer\u202c 犬", "käfer 犬"),
    ],
)
def test_what_cannot_be_seen_is_left_out(typed, phrase):
    assert subject_phrase(typed, Cones2Error) == phrase


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "is empty"),
        (" \u200b\t", "is empty"),
        ("do\0g", "does not print"),
        ("dog\x1b[2J", r'"dog\\x1b\[2J" has a character that does not print'),
        ("dog\ud83d", "does not print"),
        ("x" * 201, "has 201 characters, at most 200 are allowed"),
    ],
)
@pytest.mark.parametrize("kind", [ConfigError, ResidualError])
def test_what_is_not_a_phrase_is_refused_in_the_callers_kind(typed, message, kind):
    with pytest.raises(kind, match=message):
        subject_phrase(typed, kind)


@given(st.text(max_size=MAX_PHRASE + 10))
def test_a_phrase_that_training_accepts_is_one_that_its_residual_accepts(text):
    try:
        config = default_config("direct", text)
    except ConfigError:
        with pytest.raises(ResidualError):
            make_residual(text, torch.ones(1, 8))
    else:
        assert make_residual(config.subject, torch.ones(1, 8)).subject == config.subject
        assert subject_phrase(config.subject, ConfigError) == config.subject
