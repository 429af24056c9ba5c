"""Joint attention written out: it keeps what cells attend to, and takes a term on its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel

# (queries, keys [B, heads, T, d], rows of text) -> what is added to the raw scores [B, 1, T, T]
Term = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


def rotated(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x [B, T, heads, d] by turns [T, d / 2, 2] (cosine, sine), in x's precision."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = (part[:, None] for part in turns.to(x.dtype).unbind(-1))
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class JointProcessor:
    """The attention of all blocks; the sequence is text, picture, references.

    While `kept` is a list, each block adds the attention of the picture's `cells` cells to text rows
    and to whole references: [B, K + R, cells], mean over heads. `picked` [B, K] are the text rows,
    `lengths` the references' tokens. `term` changes the scores.
    """

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] | None = None
        self.picked = torch.empty(0, 0, dtype=torch.long)
        self.cells = 0
        self.lengths: tuple[int, ...] = ()
        self.term: Term | None = None

    def listen(self, picked: torch.Tensor, cells: int, lengths: Sequence[int]) -> None:
        """Forget the maps kept so far and keep these from now on."""
        self.kept, self.picked, self.cells, self.lengths = [], picked, cells, tuple(lengths)

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor | None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert image_rotary_emb is not None
        text, picture, rows = encoder_hidden_states, hidden_states, encoder_hidden_states.shape[1]
        turns = torch.view_as_real(torch.cat(image_rotary_emb[::-1]))
        q = self._joined(attn, attn.add_q_proj(text), attn.norm_added_q, attn.to_q(picture), attn.norm_q, turns)
        k = self._joined(attn, attn.add_k_proj(text), attn.norm_added_k, attn.to_k(picture), attn.norm_k, turns)
        v = torch.cat((attn.add_v_proj(text), attn.to_v(picture)), 1).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        # Written out: the backward pass of the fused attention is slow on a CPU.
        scale = q.shape[-1] ** -0.5
        scores = (q * scale) @ k.transpose(-1, -2)
        if self.term is not None:
            scores = scores + self.term(q, k, rows) * scale
        if encoder_hidden_states_mask is not None:
            closed = torch.zeros(encoder_hidden_states_mask.shape, dtype=scores.dtype, device=scores.device)
            closed = closed.masked_fill(~encoder_hidden_states_mask, torch.finfo(scores.dtype).min)
            scores = scores + torch.nn.functional.pad(closed, (0, picture.shape[1]))[:, None, None]
        weights = scores.softmax(-1)
        if self.kept is not None:
            self.kept.append(self._maps(weights[:, :, rows : rows + self.cells].mean(1), rows))
        out = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)
        return attn.to_out[0](out[:, rows:]), attn.to_add_out(out[:, :rows])

    @staticmethod
    def _joined(
        attn: Any, text: torch.Tensor, text_norm: Any, picture: torch.Tensor, norm: Any, turns: torch.Tensor
    ) -> torch.Tensor:
        """Normalized and rotated queries or keys: [B, heads, T, d]."""
        heads = (attn.heads, -1)
        normed = torch.cat((text_norm(text.unflatten(-1, heads)), norm(picture.unflatten(-1, heads))), 1)
        return rotated(normed.to(text.dtype), turns).transpose(1, 2)

    def _maps(self, weights: torch.Tensor, rows: int) -> torch.Tensor:
        """weights: [B, cells, T], of the picture's cells."""
        words = weights.gather(2, self.picked[:, None, :].expand(-1, self.cells, -1))
        references = weights[..., rows + self.cells :].split(self.lengths, -1)
        columns = [words, *(part.sum(-1, keepdim=True) for part in references)]
        return torch.cat(columns, -1).transpose(1, 2).float()


def attach(dit: QwenImageTransformer2DModel) -> JointProcessor:
    """Give every block one shared processor."""
    processor = JointProcessor()
    for block in dit.transformer_blocks:
        block.attn.set_processor(processor)
    return processor
