"""The captions a residual is averaged over (paper method) or learned through (direct method): of the subject alone,
beside another thing, or described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import ConfigError, PromptError
from ..messages import shown
from ..prompt.tokens import CHUNK_CONTENT, PromptTokens, Span, Tokenize, bare_phrase

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

SCENE_TEMPLATES = (
    "a photo of a {}",
    "a rendering of a {}",
    "the photo of a {}",
    "a dark photo of the {}",
    "a bright photo of the {}",
    "a photo of the {}",
    "a good photo of the {}",
    "a rendition of a {}",
    "a good photo of a {}",
)
"""Those of them that say nothing about the subject itself."""


@dataclass(frozen=True)
class Caption:
    """A caption, the tokens of its subject, first to last, and those of the other thing in it, if any."""

    text: str
    span: Span
    other: Span = ()


@dataclass(frozen=True)
class CaptionBook:
    """All captions of a run.

    captions: of the subject alone, then beside each partner.
    choices: partner → indices of its captions; "" for those of the subject alone.
    """

    captions: tuple[Caption, ...]
    choices: Mapping[str, range]


def caption_book(
    subject: str, partners: Sequence[str], prompt_tokens: PromptTokensOf, tokenize: Tokenize
) -> CaptionBook:
    """The captions of a subject alone and beside each partner. Raises PromptError as `place_subject` does."""
    captions = subject_captions(subject, prompt_tokens, tokenize)
    choices = {"": range(len(captions))}
    for partner in partners:
        first = len(captions)
        captions += scene_captions(subject, partner, prompt_tokens, tokenize)
        choices[partner] = range(first, len(captions))
    return CaptionBook(tuple(captions), choices)


def subject_captions(subject: str, prompt_tokens: PromptTokensOf, tokenize: Tokenize) -> list[Caption]:
    """The 27 captions of a subject; see `place_subject`."""
    return [place_subject(template, subject, prompt_tokens, tokenize) for template in CAPTION_TEMPLATES]


def scene_captions(subject: str, partner: str, prompt_tokens: PromptTokensOf, tokenize: Tokenize) -> list[Caption]:
    """Nine captions of the subject and another thing, now the one first, now the other."""
    captions = []
    for index, template in enumerate(SCENE_TEMPLATES):
        own, other = (f"{{}} and a {partner}", f"{subject} and a {{}}")
        if index % 2:
            own, other = (f"{partner} and a {{}}", f"{{}} and a {subject}")
        caption = place_subject(template.replace("{}", own), subject, prompt_tokens, tokenize)
        there = place_subject(template.replace("{}", other), partner, prompt_tokens, tokenize)
        captions.append(Caption(caption.text, caption.span, there.span))
    return captions


def described_captions(
    subject: str, description: str, prompt_tokens: PromptTokensOf, tokenize: Tokenize
) -> list[Caption]:
    """The 27 captions with the subject described: "purple mug", or only "purple".

    Raises ConfigError for a description with no words before the subject: text encoders read from left to right.
    """
    before = _words_before(subject, description)
    return [
        place_subject(template.replace("{}", f"{before} {{}}"), subject, prompt_tokens, tokenize)
        for template in CAPTION_TEMPLATES
    ]


def _words_before(subject: str, description: str) -> str:
    """What a description says before its subject; all of it where the subject is not in it."""
    words, noun = description.replace("{}", " ").split(), subject.lower().split()
    for first in range(len(words) - len(noun), -1, -1):
        if [word.lower().strip(".,;:!?") for word in words[first : first + len(noun)]] == noun:
            words = words[:first]
            break
    if words and words[0].lower() in ("a", "an", "the", "my", "one"):
        words = words[1:]
    if not words:
        raise ConfigError(
            f'the description "{shown(description, 80)}" says nothing before "{subject}": write how it looks, '
            f'such as "purple and yellow {subject}"'
        )
    return " ".join(words)


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
    lead = template.partition("{}")[0].lstrip()
    prompt = prompt_tokens(template.replace("{}", phrase))
    # where text is spelled a space is a token: the one before the subject, and one that some encoders put in front
    before = (len(tokenize(lead)) if lead else 0) + sum(token.piece.text == b" " for token in prompt.tokens[:1])
    if len(dict.fromkeys(token.index for token in prompt.tokens)) > CHUNK_CONTENT:
        raise PromptError(
            f'the subject "{shown(subject, 80)}" has {len(pieces)} tokens: with the caption around it that is more '
            f"than the {CHUNK_CONTENT} of one prompt"
        )
    found = prompt.tokens[before : before + len(pieces)]
    if [token.piece.id for token in found] != [piece.id for piece in pieces]:
        raise PromptError(f'the subject "{subject}" is tokenized differently inside "{prompt.prompt}"')
    return Caption(prompt.prompt, prompt.span(range(before, before + len(pieces))))
