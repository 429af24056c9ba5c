"""The text encoder: a small CLIPTextModel with a stand-in for CLIP's pre-training.

CLIP's text rows say what was said before them; here that is asked for directly. Each noun's row
must tell class, color, pattern and stripe color said about it, and the end token the background
and all classes named. Afterwards the encoder is frozen, as in Stable Diffusion.
"""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cones2.evaluation.toyworld.captions import caption
from cones2.evaluation.toyworld.world import BACKGROUNDS, CLASSES, COLORS, random_scene

from .run import Options, Trainer
from .words import LENGTH, PATTERNS, Words

UNSAID = -1
SHORT = 20  # rows that captions of up to three objects reach
KEEP_WEIGHT = 5.0


def configuration(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Size of the encoder: 128 wide, 3 layers, 4 heads."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        hidden_act="quick_gelu",
        projection_dim=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def said_about(words: list[str]) -> dict[str, int]:
    """Indices of what the adjectives before a noun say; UNSAID where they are silent."""
    colors = [COLORS.index(w) for w in words if w in COLORS]
    patterns = [PATTERNS.index(w) for w in words if w in PATTERNS]
    two = len(colors) == 2
    return {
        "color": colors[-1] if colors else UNSAID,
        "pattern": patterns[0] if patterns else UNSAID,
        "stripes": colors[0] if two else UNSAID,
    }


def noun_targets(text: str) -> list[dict[str, int]]:
    """For each noun of a caption, in order, its class and what was said about it."""
    targets: list[dict[str, int]] = []
    since: list[str] = []
    for word in text.replace(",", " ,").split():
        if word in CLASSES:
            targets.append({"kind": CLASSES.index(word), **said_about(since)})
            since = []
        else:
            since.append(word)
    return targets


class Exam(nn.Module):
    """The encoder with the linear readers that question its rows."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.sizes = {"kind": len(CLASSES), "color": len(COLORS) + 1, "pattern": 3, "stripes": len(COLORS) + 1}
        self.nouns = nn.ModuleDict({name: nn.Linear(width, size) for name, size in self.sizes.items()})
        self.place = nn.Linear(width, len(BACKGROUNDS) + 1)
        self.named = nn.Linear(width, len(CLASSES))

    def forward(self, ids: torch.Tensor, kinds: torch.Tensor, texts: list[str], end: int) -> torch.Tensor:
        rows = self.encoder(ids).last_hidden_state
        targets = [target for text in texts for target in noun_targets(text)]
        nouns = rows[kinds > 0]
        losses = []
        for name, reader in self.nouns.items():
            last = self.sizes[name] - 1  # the answer "nothing was said"
            answers = [t[name] if t[name] != UNSAID else last for t in targets]
            losses.append(F.cross_entropy(reader(nouns), torch.tensor(answers, device=ids.device)))
        final = rows[torch.arange(len(ids)), (ids == end).int().argmax(1)]
        places = [next((i for i, b in enumerate(BACKGROUNDS) if b in text.split()), len(BACKGROUNDS)) for text in texts]
        losses.append(F.cross_entropy(self.place(final), torch.tensor(places, device=ids.device)))
        named = torch.zeros(len(texts), len(CLASSES), device=ids.device)
        for row, text in enumerate(texts):
            named[row, [t["kind"] for t in noun_targets(text)]] = 1
        losses.append(F.binary_cross_entropy_with_logits(self.named(final), named))
        return torch.stack(losses).sum()


def kept_rows(encoder: CLIPTextModel, before: CLIPTextModel, ids: torch.Tensor) -> torch.Tensor:
    """Mean squared change of the first rows, which an encoder trained on short captions got right."""
    with torch.no_grad():
        old = before(ids[:, :SHORT]).last_hidden_state
    return ((encoder(ids[:, :SHORT]).last_hidden_state - old) ** 2).mean()


def train(options: Options) -> None:
    """Train the encoder into WORK/text_encoder.

    With `init` it starts from that encoder, and the first rows stay what they were there: a
    denoiser made for it need not learn them again.
    """
    torch.manual_seed(options.seed)
    tokenizer = CLIPTokenizer.from_pretrained(options.work / "tokenizer")
    words = Words(tokenizer)
    before = None
    exam = Exam(CLIPTextModel(configuration(tokenizer))).to(options.device)
    if options.init is not None:
        given: Any = CLIPTextModel.from_pretrained(options.init, torch_dtype=torch.float32)
        before = given.to(options.device).eval()
        exam.encoder.load_state_dict(given.state_dict())
    trainer = Trainer("text", exam, options, decay=0.9)
    while trainer.running():
        rng = random.Random(options.seed * 1_000_003 + trainer.step)
        texts = [caption(random_scene(rng), rng) for _ in range(options.batch)]
        ids = words.encode(texts)
        kinds = words.kinds(ids)
        ids, kinds = ids.to(options.device), kinds.to(options.device)
        loss = exam(ids, kinds, texts, tokenizer.eos_token_id)
        drift = loss.new_zeros(()) if before is None else kept_rows(exam.encoder, before, ids)
        trainer.apply(loss + KEEP_WEIGHT * drift, drift=drift)
    trainer.average.copy_to(exam)
    exam.encoder.save_pretrained(options.work / "text_encoder")
