"""The captions a residual is averaged over (paper method) or learned through (direct method)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import PromptError
from ..messages import shown
from ..prompt.tokens import CHUNK_CONTENT, CHUNK_LENGTH, PromptTokens, Span, Tokenize, bare_phrase

PromptTokensOf = Callable[[str], PromptTokens]

CAPTION_TEMPLATES = (
    "a photo of a {}",
    "a rendering of a {}",
    "a cropped photo of the {}",
    "the photo of a {}",
    "a photo of a clean {}",
    "a photo of a dirty {}",
    "a dark photo of the {}",
    "a photo of my {}",
    "a photo of the cool {}",
    "a close-up photo of a {}",
    "a bright photo of the {}",
    "a cropped photo of a {}",
    "a photo of the {}",
    "a good photo of the {}",
    "a photo of one {}",
    "a close-up photo of the {}",
    "a rendition of the {}",
    "a photo of the clean {}",
    "a rendition of a {}",
    "a photo of a nice {}",
    "a good photo of a {}",
    "a photo of the nice {}",
    "a photo of the small {}",
    "a photo of the weird {}",
    "a photo of the large {}",
    "a photo of a cool {}",
    "a photo of a small {}",
)
"""ImageNet-style captions of textual inversion (arXiv 2208.01618), the 27 that Cones 2 uses."""


@dataclass(frozen=True)
class Caption:
    """A caption and the tokens of its subject, first to last."""

    text: str
    span: Span


def subject_captions(subject: str, prompt_tokens: PromptTokensOf, tokenize: Tokenize) -> list[Caption]:
    """The 27 captions of a subject; see `place_subject`."""
    return [place_subject(template, subject, prompt_tokens, tokenize) for template in CAPTION_TEMPLATES]


def place_subject(template: str, subject: str, prompt_tokens: PromptTokensOf, tokenize: Tokenize) -> Caption:
    """The template with the subject put in, and where it is.

    The tokens follow from what comes before the subject, not from a search for its words: the caption
    "a photo of the small small dog" has the subject "small dog" at its last two tokens.
    Raises PromptError for a subject without tokens, with more than fit into one chunk, or one the tokenizer joins
    with its neighbors.
    """
    phrase = bare_phrase(subject)
    pieces = tokenize(phrase) if phrase else []
    if not pieces:
        raise PromptError(f'the subject "{subject}" has no words: name the kind of thing in the photos, such as dog')
    lead = template.partition("{}")[0].strip()
    before = len(tokenize(lead)) if lead else 0
    prompt = prompt_tokens(template.replace("{}", phrase))
    if prompt.length > CHUNK_LENGTH:
        raise PromptError(
            f'the subject "{shown(subject, 80)}" has {len(pieces)} tokens: with the caption around it that is more '
            f"than the {CHUNK_CONTENT} of one prompt"
        )
    found = prompt.tokens[before : before + len(pieces)]
    if [token.piece.id for token in found] != [piece.id for piece in pieces]:
        raise PromptError(f'the subject "{subject}" is tokenized differently inside "{prompt.prompt}"')
    return Caption(prompt.prompt, tuple(token.index for token in found))
